"""GPTQ on the grid of block types, against a slow account of the method in numpy and float64.

Scales there come from ggml's own encoder, and values from the layouts of blocks as ``formats/blocks.toml`` tells them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import ggml
from threadpoolctl import threadpool_limits

import qconv
from qconv import blocks
from qconv.blocks import EncodeContext
from qconv.errors import UsageError, WeightError

Floats = NDArray[np.float64]
Grid = Callable[[NDArray[np.uint8]], Floats]

_CODEBOOK = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


def _half(block: NDArray[np.uint8], at: int) -> Floats:
    return np.ascontiguousarray(block[:, at : at + 2]).view(np.float16).astype(np.float64)


def _q4_0(block: NDArray[np.uint8]) -> Floats:
    """Values that each weight of a block may take: ``(rows, weights, values)``."""
    return np.repeat((_half(block, 0) * np.arange(-8, 8))[:, None], 32, axis=1)


def _q8_0(block: NDArray[np.uint8]) -> Floats:
    return np.repeat((_half(block, 0) * np.arange(-127, 128))[:, None], 32, axis=1)


def _iq4_nl(block: NDArray[np.uint8]) -> Floats:
    return np.repeat((_half(block, 0) * np.array(_CODEBOOK))[:, None], 32, axis=1)


def _q6_k(block: NDArray[np.uint8]) -> Floats:
    scales = block[:, 192:208].view(np.int8) * _half(block, 208)
    return np.repeat(scales[:, :, None] * np.arange(-32, 32), 16, axis=1)


def _q4_k(block: NDArray[np.uint8]) -> Floats:
    packed = block[:, 4:16].astype(np.int64)
    first, second, both = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.hstack([first & 63, both & 15 | first >> 6 << 4]) * _half(block, 0)
    mins = np.hstack([second & 63, both >> 4 | second >> 6 << 4]) * _half(block, 2)
    return np.repeat(scales[:, :, None] * np.arange(16) - mins[:, :, None], 32, axis=1)


GRIDS: dict[str, Grid] = {"Q4_0": _q4_0, "Q8_0": _q8_0, "IQ4_NL": _iq4_nl, "Q6_K": _q6_k, "Q4_K": _q4_k}


def hessian(columns: int, tokens: int, seed: int = 1) -> Floats:
    """Σ x xᵀ of inputs that are correlated and of very different sizes."""
    random = np.random.default_rng(seed)
    mixing = random.standard_normal((columns, columns)) * np.exp(random.standard_normal(columns))
    x = random.standard_normal((tokens, columns)) @ mixing / np.sqrt(columns)
    return np.asarray(x.T @ x)


def damped(h: Floats) -> Floats:
    return np.asarray(h + 0.01 * np.diag(h).mean() * np.eye(len(h)))


def weights_of(rows: int, columns: int, seed: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def errors(weights: NDArray[np.float32], coded: NDArray[np.uint8], block_type: str, h: Floats) -> Floats:
    """ΔW H ΔWᵀ of each row."""
    off = weights.astype(np.float64) - ggml.decode(block_type, coded)
    return np.asarray(((off @ h) * off).sum(axis=1))


def slow(block_type: str, weights: NDArray[np.float32], h: Floats, search: str) -> Floats:
    """The method, column by column, and if thorough once back: what the weights become."""
    width, importance = blocks.codec(block_type).layout.weights, np.diag(damped(h)).astype(np.float32)
    u = np.linalg.cholesky(np.linalg.inv(damped(h))).T
    w, rounded = weights.astype(np.float64), np.zeros(weights.shape)
    grids = []
    for start in range(0, w.shape[1], width):
        scaled = ggml.encode(block_type, w[:, start : start + width].astype(np.float32), importance[start:][:width])
        grid = GRIDS[block_type](scaled)
        grids.append(grid)
        for j in range(width):
            column = w[:, start + j]
            nearest = np.abs(grid[:, j] - column[:, None]).argmin(axis=1)
            rounded[:, start + j] = grid[np.arange(len(w)), j, nearest]
            error = (column - rounded[:, start + j]) / u[start + j, start + j]
            w[:, start + j + 1 :] -= np.outer(error, u[start + j, start + j + 1 :])
    grid = np.concatenate(grids, axis=1)
    for j in range(w.shape[1])[::-1] if search == "thorough" else ():
        best = rounded[:, j] + (weights - rounded) @ damped(h)[:, j] / damped(h)[j, j]
        rounded[:, j] = grid[np.arange(len(w)), j, np.abs(grid[:, j] - best[:, None]).argmin(axis=1)]
    return rounded


@pytest.mark.parametrize("search", ["reference", "thorough"])
@pytest.mark.parametrize("block_type", GRIDS)
def test_it_is_the_method(block_type: str, search: str) -> None:
    columns = 544 if blocks.codec(block_type).layout.weights == 32 else 512
    weights, h = weights_of(40, columns), hessian(columns, 2000)
    made = ggml.decode(block_type, qconv.quantize(weights, block_type, search=search, hessian=h))
    wanted = slow(block_type, weights, h, search)
    # float32 decides some ties otherwise, after which all of a row differs
    same = np.isclose(made, wanted, rtol=1e-5, atol=1e-6).all(axis=1)
    assert same.mean() >= 0.7
    off, off_wanted = weights - made, weights - wanted
    assert ((off @ h) * off).sum() == pytest.approx(((off_wanted @ h) * off_wanted).sum(), rel=0.01)


@pytest.mark.parametrize("block_type", [t for t in blocks.encodable() if t not in ("F32", "F16", "BF16", "TQ1_0")])
def test_no_row_is_worse_and_most_are_better(block_type: str) -> None:
    weights, h = weights_of(130, 512), hessian(512, 300)
    ordinary = qconv.quantize(weights, block_type, np.diag(damped(h)))
    theirs = errors(weights, ordinary, block_type, h)
    ours = errors(weights, qconv.quantize(weights, block_type, hessian=h), block_type, h)
    assert (ours <= theirs * (1 + 1e-6)).all()
    assert ours.sum() < (0.999 if block_type == "TQ2_0" else 0.7) * theirs.sum()
    thorough = errors(weights, qconv.quantize(weights, block_type, search="thorough", hessian=h), block_type, h)
    assert (thorough <= theirs * (1 + 1e-6)).all()
    assert thorough.sum() < ours.sum()


def test_importance_that_is_given_decides_on_scales_and_on_what_is_kept() -> None:
    weights, h, importance = weights_of(20, 256), hessian(256, 40), np.linspace(1, 5, 256, dtype=np.float32)
    none = np.zeros((256, 256))
    made = qconv.quantize(weights, "Q4_K", importance, hessian=none)
    assert np.array_equal(made, ggml.encode("Q4_K", weights, importance))
    better = qconv.quantize(weights, "Q4_K", importance, hessian=h)
    assert errors(weights, better, "Q4_K", h).sum() < errors(weights, made, "Q4_K", h).sum()


def test_types_whose_quants_lie_together_are_encoded_as_ever() -> None:
    weights = weights_of(3, 256)
    assert np.array_equal(qconv.quantize(weights, "TQ1_0", hessian=hessian(256, 50)), ggml.encode("TQ1_0", weights))


@pytest.mark.parametrize("columns", [32, 256, 352, 768])
def test_the_factor_is_that_of_the_inverse(columns: int) -> None:
    h = hessian(columns, 3 * columns)
    factor = blocks.factor_of(np.tril(h))
    u = np.zeros((columns, columns))
    for k, panel in enumerate(factor.panels):
        u[: len(panel), 256 * k : len(panel)] = panel
    assert u == pytest.approx(np.linalg.cholesky(np.linalg.inv(damped(h))).T, rel=1e-3, abs=1e-6 * u.max())
    root = np.zeros((columns, columns))
    for k, rows in enumerate(factor.root):
        root[256 * k :][: len(rows), 256 * k :] = rows
    assert root @ root.T == pytest.approx(damped(h), rel=1e-3, abs=1e-6 * h.max())
    for k, square in enumerate(factor.squares):
        assert square == pytest.approx(damped(h)[256 * k :, 256 * k :][: len(square), : len(square)], rel=1e-5)


@pytest.mark.parametrize("columns", [32, 352])
def test_the_sketch_estimates_errors(columns: int) -> None:
    h = hessian(columns, 3 * columns)
    off = weights_of(500, columns)
    estimates = np.square(off @ blocks.factor_of(h).sketch, dtype=np.float64).sum(axis=1)
    ratios = estimates / np.einsum("ij,jk,ik->i", off, damped(h), off)
    assert ratios.mean() == pytest.approx(1, abs=0.05)
    assert ratios.max() < 1.5


@pytest.mark.parametrize("block_type", ["Q4_K", "Q4_0"])
def test_bytes_depend_neither_on_threads_nor_on_row_blocks(block_type: str) -> None:
    weights, h = weights_of(300, 768), hessian(768, 1000)
    made = {}
    for threads in (1, 2):
        with threadpool_limits(threads):
            made[threads] = qconv.quantize(weights, block_type, hessian=h)
    context = EncodeContext(factor=blocks.factorize(blocks.lower_panels(h), 768, threads=3))
    pieces = [blocks.encode(block_type, weights[row : row + 128], context=context) for row in (0, 128, 256)]
    assert np.array_equal(made[1], made[2])
    assert np.array_equal(made[1], np.concatenate(pieces))


def test_rows_of_16_bits() -> None:
    h = hessian(256, 100)
    halves = weights_of(5, 256).astype(np.float16)
    bits = (weights_of(5, 256).view(np.uint32) >> 16).astype(np.uint16)
    for rows, same in ((halves, halves.astype(np.float32)), (bits, (bits.astype(np.uint32) << 16).view(np.float32))):
        made = qconv.quantize(rows, "Q4_K", hessian=h)
        assert np.array_equal(made, qconv.quantize(same, "Q4_K", hessian=h))


def _one_token() -> Floats:
    return hessian(512, 1)


def _one_token_repeated() -> Floats:
    x = np.random.default_rng(3).standard_normal(512)
    return np.asarray(1000 * np.outer(x, x))


def _dead_columns() -> Floats:
    h = hessian(512, 600)
    h[100:300] = 0
    h[:, 100:300] = 0
    return h


def _very_uneven() -> Floats:
    scale = np.logspace(-15, 15, 512)
    return np.asarray(hessian(512, 600) * scale * scale[:, None])


@pytest.mark.parametrize("make", [_one_token, _one_token_repeated, _dead_columns, _very_uneven])
@pytest.mark.parametrize("block_type", ["Q4_K", "Q5_1"])
def test_singular_hessians(make: Callable[[], Floats], block_type: str) -> None:
    weights, h = weights_of(20, 512), make()
    weights[7] = 0
    made = qconv.quantize(weights, block_type, hessian=h)
    factor = blocks.factor_of(h)
    theirs = errors(weights, ggml.encode(block_type, weights, factor.importance), block_type, h)
    assert (errors(weights, made, block_type, h) <= theirs * (1 + 1e-4) + 1e-9).all()
    assert not ggml.decode(block_type, made)[7].any()


def test_a_hessian_that_16_bits_left_indefinite_is_damped_until_it_is_not() -> None:
    h = hessian(256, 8).astype(np.float32)
    rounded = ((h.view(np.uint32) + 0x8000) & 0xFFFF0000).view(np.float32)
    assert np.linalg.eigvalsh(np.tril(rounded) + np.tril(rounded, -1).T).min() < 0
    weights = weights_of(10, 256)
    made = qconv.quantize(weights, "Q4_K", hessian=rounded)
    ordinary = ggml.encode("Q4_K", weights, np.diag(damped(h.astype(np.float64))).astype(np.float32))
    exact = h.astype(np.float64)
    assert errors(weights, made, "Q4_K", exact).sum() < errors(weights, ordinary, "Q4_K", exact).sum()


def test_huge_weights_beside_small_ones_do_not_disturb_other_rows() -> None:
    weights, h = weights_of(4, 512), hessian(512, 700)
    alone = qconv.quantize(weights, "Q4_K", hessian=h)
    weights[2, :256] *= np.float32(3e37)
    made = qconv.quantize(weights, "Q4_K", hessian=h)
    assert np.array_equal(made[[0, 1, 3]], alone[[0, 1, 3]])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((5, 3, np.nan), r"row 5, column 3 of a Hessian is NaN or infinite"),
        ((300, 299, np.inf), r"row 300, column 299 of a Hessian is NaN or infinite"),
        ((9, 9, -1.0), r"column 9 of a Hessian has a sum of squares below zero"),
        ((400, 2, 1e12), r"not positive"),
    ],
)
def test_what_is_no_hessian(change: tuple[int, int, float], says: str) -> None:
    h = hessian(512, 600)
    row, column, value = change
    h[row, column] = value
    with pytest.raises(WeightError, match=says):
        qconv.quantize(weights_of(2, 512), "Q4_K", hessian=h)


@pytest.mark.parametrize("shape", [(256,), (256, 512), (128, 128)])
def test_hessians_of_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="Hessian"):
        qconv.quantize(weights_of(2, 256), "Q4_K", hessian=np.ones(shape))


def test_a_weight_that_is_not_finite_is_told() -> None:
    weights = weights_of(3, 256)
    weights[1, 17] = np.inf
    with pytest.raises(WeightError, match="row 1, column 17"):
        qconv.quantize(weights, "Q4_K", hessian=hessian(256, 300))
