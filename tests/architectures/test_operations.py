"""Operations against the same done by numpy's reshape, swapaxes and slices on the whole tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qconv.architectures import registry
from qconv.architectures.operations import exponential
from qconv.architectures.operations.base import Source, as_float32
from qconv.architectures.operations.combine import join
from qconv.architectures.power import power
from qconv.errors import PlanError
from qconv.types import Recipe, TensorInfo

Array = NDArray[Any]
WIDTHS: dict[str, Any] = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "U8": np.uint8}

TORCH_EXP = [
    ("-0x1.c5de140000000p-1", "0x1.a600b40000000p-2"),
    ("0x1.f04bfe0000000p-2", "0x1.9fa6460000000p+0"),
    ("-0x1.9383040000000p-1", "0x1.d19de20000000p-2"),
    ("-0x1.4ad0aa0000000p+0", "0x1.193ea80000000p-2"),
    ("-0x1.859bea0000000p-2", "0x1.5df84a0000000p-1"),
    ("0x1.0604700000000p-1", "0x1.ab0ff80000000p+0"),
    ("-0x1.acd8f00000000p-1", "0x1.bb23180000000p-2"),
    ("0x1.50fc3e0000000p-1", "0x1.ee674a0000000p+0"),
]
TORCH_POWER = [
    (1, "0x1.4a41d20000000p+0"),
    (34, "0x1.6853560000000p+12"),
    (40, "0x1.9f3fac0000000p+14"),
    (55, "0x1.2803700000000p+20"),
]


class Memory:
    """Tensors in memory that hand out rows, into the caller's buffer every other time."""

    def __init__(self, **arrays: Array) -> None:
        names = {np.dtype(v).name: k for k, v in WIDTHS.items()}
        self.arrays = arrays
        self.tensors: Mapping[str, TensorInfo] = {
            name: TensorInfo(name, names[a.dtype.name], a.shape) for name, a in arrays.items()
        }
        self.rows_read = 0

    def read(self, name: str, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Array:
        array = self.arrays[name]
        rows = array.reshape(math.prod(array.shape[:-1]), -1)[start:stop]
        assert 0 <= start <= stop <= math.prod(array.shape[:-1])
        self.rows_read += stop - start
        if out is None or self.rows_read % 2:
            return rows
        target = out.reshape(-1)[: rows.nbytes].view(rows.dtype).reshape(rows.shape)
        target[...] = rows
        return target

    def source(self, name: str) -> Recipe:
        return Source(self.tensors[name])


def apply(name: str, *arguments: Any) -> Callable[[Any], Recipe]:
    kind = "combination" if registry.is_known("combination", name) else "operation"
    return lambda recipe: registry.lookup(kind, name)(recipe, *arguments)


def check(memory: Memory, recipe: Recipe, expected: Array) -> None:
    """The whole, every single row, ranges across the middle, into buffers and not: all equal ``expected``."""
    assert recipe.shape == expected.shape
    rows = math.prod(expected.shape[:-1])
    flat = expected.reshape(rows, -1)
    ranges = [(0, rows), (0, 0), (rows // 3, rows - rows // 4), *((i, i + 1) for i in range(rows))]
    for start, stop in ranges:
        for out in (None, np.empty(flat.nbytes + 64, np.uint8)):
            got = recipe.read(memory, start, stop, out)
            assert got.shape == (stop - start, flat.shape[1])
            assert got.dtype == flat.dtype
            assert np.array_equal(got.view(np.uint8), np.ascontiguousarray(flat[start:stop]).view(np.uint8))


def numbers(*shape: int, kind: Any = np.float32) -> Array:
    random = np.random.default_rng(math.prod(shape))
    return (
        random.integers(0, 2**15, shape).astype(kind) if kind is np.uint16 else random.normal(size=shape).astype(kind)
    )


KINDS = [np.float32, np.float16, np.uint16]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("heads", [1, 2, 6])
def test_permute_rope(kind: Any, heads: int) -> None:
    x, bias = numbers(48, 5, kind=kind), numbers(48, kind=kind)
    memory = Memory(x=x, bias=bias)
    half = 48 // heads // 2
    for name, array in (("x", x), ("bias", bias)):
        grid = array.reshape(heads, 2, half, -1).swapaxes(1, 2).reshape(array.shape)
        check(memory, apply("permute_rope", heads)(memory.source(name)), grid)


def test_permute_rope_reads_each_row_about_once() -> None:
    memory = Memory(x=numbers(512, 4))
    apply("permute_rope", 4)(memory.source("x")).read(memory, 0, 512)
    assert memory.rows_read == 512


def test_split_and_heads() -> None:
    x, bias = numbers(30, 4), numbers(30)
    memory = Memory(x=x, bias=bias)
    check(memory, apply("split", 1, 10, 8, 12)(memory.source("x")), x[10:18])
    check(memory, apply("split", 2, 10, 8, 12)(memory.source("bias")), bias[18:])
    grouped = x.reshape(3, 10, 4)
    check(memory, apply("split_each", 3, 1, 4, 6)(memory.source("x")), grouped[:, 4:].reshape(-1, 4))
    check(memory, apply("heads", 3, 0, 4, 6)(memory.source("x")), grouped[:, :4])
    turned = apply("transpose")(apply("heads", 3, 0, 4, 6)(memory.source("x")))
    check(memory, turned, grouped[:, :4].swapaxes(1, 2).copy())


def test_ungroup() -> None:
    x = numbers(36, 3)
    memory = Memory(x=x)
    groups = x.reshape(2, 18, 3)
    q, k, v = groups[:, :8], groups[:, 8:12], groups[:, 12:16]
    expected = np.concatenate([part.reshape(-1, 3) for part in (q, k, v)])
    check(memory, apply("ungroup", 2, 3, 8, 4, 4, 2)(memory.source("x")), expected)


def test_group_qkv() -> None:
    x, bias = numbers(40, 6), numbers(40)
    memory = Memory(x=x, bias=bias)
    for name, array in (("x", x), ("bias", bias)):
        groups = array.reshape(2, 5, 4, -1)  # three query heads, a key and a value of 4 rows each
        parts = [groups[:, :3], groups[:, 3:4], groups[:, 4:]]
        expected = np.concatenate([part.reshape(-1, groups.shape[-1]) for part in parts]).reshape(array.shape)
        check(memory, apply("group_qkv", 6, 2)(memory.source(name)), expected)


def test_swap_groups() -> None:
    x, bias = numbers(24, 4), numbers(24)
    memory = Memory(x=x, bias=bias)
    swapped = x.reshape(2, 3, 4, 4).swapaxes(0, 1).reshape(24, 4)
    check(memory, apply("swap_groups", 2, 3)(memory.source("x")), swapped)
    check(memory, apply("swap_groups", 2, 3)(memory.source("bias")), bias.reshape(2, 3, 4).swapaxes(0, 1).reshape(-1))
    tail = x[6:].reshape(3, 2, 3, 4).swapaxes(0, 1).reshape(18, 4)
    check(memory, apply("swap_groups_after", 6, 3, 2)(memory.source("x")), np.concatenate([x[:6], tail]))
    turned = numbers(5, 24)
    memory = Memory(x=turned)
    expected = turned.reshape(5, 2, 3, 4).swapaxes(1, 2).reshape(5, 24)
    check(memory, apply("swap_column_groups", 2, 3)(memory.source("x")), expected)


def test_halves_of_stacks() -> None:
    x = numbers(3, 8, 5)
    memory = Memory(x=x)
    for index in (0, 1):
        check(memory, apply("half", index)(memory.source("x")), x[:, 4 * index : 4 * index + 4].copy())
        check(memory, apply("every_other", index)(memory.source("x")), x[:, index::2].copy())
    bias = numbers(3, 8)
    memory = Memory(x=bias)
    check(memory, apply("every_other_column", 1)(memory.source("x")), bias[:, 1::2].copy())


@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 6), (2, 3, 1)])
def test_transpose(shape: tuple[int, ...]) -> None:
    x = numbers(*shape, kind=np.uint16)
    memory = Memory(x=x)
    recipe = apply("transpose")(memory.source("x"))
    assert recipe.held == shape[-1] * shape[-2] * 2
    check(memory, recipe, x.swapaxes(-1, -2).copy())


def test_reshapes() -> None:
    conv, vector = numbers(6, 1, 4), numbers(12)
    memory = Memory(conv=conv, vector=vector)
    check(memory, apply("squeeze")(memory.source("conv")), conv.reshape(6, 4))


def test_combinations() -> None:
    a, b = numbers(2, 3, 4), numbers(2, 5, 4)
    memory = Memory(a=a, b=b, u=numbers(3), v=numbers(4))
    parts = [memory.source("a"), memory.source("b")]
    check(memory, join("concat", parts, axis=1), np.concatenate([a, b], 1))
    vectors = [memory.source("u"), memory.source("v")]
    check(memory, join("concat", vectors, axis=0), np.concatenate([memory.arrays["u"], memory.arrays["v"]]))
    with pytest.raises(PlanError, match="does not fit"):
        apply("stack")(parts)
    check(memory, apply("stack")([memory.source("a"), memory.source("a")]), np.stack([a, a]))


def test_different_types_do_not_combine() -> None:
    memory = Memory(a=numbers(2, 3), b=numbers(2, 3, kind=np.float16))
    with pytest.raises(PlanError, match="F16"):
        apply("stack")([memory.source("a"), memory.source("b")])


def test_elementwise_is_float32() -> None:
    x = numbers(3, 4, kind=np.uint16)
    memory = Memory(x=x)
    wide = as_float32(x, "BF16")
    assert np.array_equal(wide, (x.astype(np.uint32) << 16).view(np.float32))
    check(memory, apply("add", 1)(memory.source("x")), wide + np.float32(1))


def test_mxfp4_moves_halves() -> None:
    packed = np.arange(16, dtype=np.uint8).reshape(1, 1, 16)  # weight 2i is i, weight 2i + 1 is 0
    packed |= np.uint8(0x50)
    scales = np.array([[121]], np.uint8)
    memory = Memory(blocks=packed, scales=scales)
    recipe = apply("mxfp4")([memory.source("blocks"), memory.source("scales")])
    assert (recipe.dtype, recipe.shape) == ("MXFP4", (1, 32))
    weights = [n for i in range(16) for n in (i, 5)]
    expected = [121, *(weights[i] | weights[i + 16] << 4 for i in range(16))]
    assert recipe.read(memory, 0, 1).tolist() == [expected]


def test_exponential_is_near_and_knows_the_ends() -> None:
    x = np.linspace(-80, 80, 10001, dtype=np.float32)
    exact = np.exp(x.astype(np.float64))
    assert (np.abs(exponential.exp(x) - exact) <= 0.6 * np.spacing(exact.astype(np.float32))).all()
    ends = np.array([np.inf, -np.inf, np.nan, 0.0], np.float32)
    assert np.array_equal(exponential.exp(ends), np.array([np.inf, 0, np.nan, 1], np.float32), equal_nan=True)


def test_exponential_gives_torchs_bits() -> None:
    """Values where torch 2.13 (x86-64) is not correctly rounded, recorded from it."""
    x = np.array([float.fromhex(a) for a, _ in TORCH_EXP], np.float32)
    assert exponential.exp(x).tolist() == [float.fromhex(b) for _, b in TORCH_EXP]


def test_power_is_near() -> None:
    exponents = np.arange(0, 128, 2, dtype=np.float32) / np.float32(128)
    exact = np.power(500000.0, exponents.astype(np.float64))
    assert (np.abs(power(500000.0, exponents) - exact) <= np.spacing(exact.astype(np.float32))).all()


def test_power_gives_torchs_bits() -> None:
    """``12e6 ** (2 i / 128)``, where torch 2.13 (x86-64) is not correctly rounded, recorded from it."""
    exponents = np.array([2 * i / 128 for i, _ in TORCH_POWER], np.float32)
    assert power(12e6, exponents).tolist() == [float.fromhex(b) for _, b in TORCH_POWER]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("permute_rope", (5,)), ("permute_rope", (0,)), ("split", (0, 3, 3)), ("heads", (7, 0, 1, 1)), ("half", (0,))],
)
def test_what_does_not_fit_is_refused(name: str, arguments: tuple[int, ...]) -> None:
    memory = Memory(x=numbers(7, 2))
    with pytest.raises(PlanError, match="does not fit 7 x 2"):
        apply(name, *arguments)(memory.source("x"))


def test_what_float32_cannot_hold_becomes_infinite() -> None:
    """The encoder says so of a tensor; numpy's warnings are errors here."""
    memory = Memory(x=np.array([[3e38, 1], [np.inf, -3e38]], np.float32))
    source = Source(memory.tensors["x"])
    scaled = registry.lookup("operation", "scale")(source, 2.0)
    assert scaled.read(memory, 0, 2).tolist() == [[np.inf, 2], [np.inf, -np.inf]]
