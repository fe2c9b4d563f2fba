"""Operations against the same done by numpy's reshape, swapaxes and slices on the whole tensor."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qconv.architectures import registry
from qconv.architectures.power import power
from qconv.errors import PlanError
from qconv.tensors import LazyTensor, as_float32, exponential
from qconv.tensors.combine import join
from tests.tensors.arrays import ArrayTensor

Array = NDArray[Any]

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


def arrays(**given: Array) -> dict[str, ArrayTensor]:
    return {name: ArrayTensor(name, array) for name, array in given.items()}


def apply(name: str, *arguments: Any) -> Callable[[Any], LazyTensor]:
    kind = "combination" if registry.is_known("combination", name) else "operation"
    return lambda given: registry.lookup(kind, name)(given, *arguments)


def check(tensor: LazyTensor, expected: Array) -> None:
    """The whole, every single row, ranges across the middle, into buffers and not: all equal ``expected``."""
    assert tensor.shape == expected.shape
    rows = math.prod(expected.shape[:-1])
    flat = expected.reshape(rows, -1)
    ranges = [(0, rows), (0, 0), (rows // 3, rows - rows // 4), *((i, i + 1) for i in range(rows))]
    for start, stop in ranges:
        for out in (None, np.empty(flat.nbytes + 64, np.uint8)):
            got = tensor.read(start, stop, out)
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
    memory = arrays(x=x, bias=bias)
    half = 48 // heads // 2
    for name, array in (("x", x), ("bias", bias)):
        grid = array.reshape(heads, 2, half, -1).swapaxes(1, 2).reshape(array.shape)
        check(apply("permute_rope", heads)(memory[name]), grid)


def test_permute_rope_reads_each_row_about_once() -> None:
    memory = arrays(x=numbers(512, 4))
    apply("permute_rope", 4)(memory["x"]).read(0, 512)
    assert memory["x"].rows_read == 512


def test_split_and_heads() -> None:
    x, bias = numbers(30, 4), numbers(30)
    memory = arrays(x=x, bias=bias)
    check(apply("split", 1, 10, 8, 12)(memory["x"]), x[10:18])
    check(apply("split", 2, 10, 8, 12)(memory["bias"]), bias[18:])
    grouped = x.reshape(3, 10, 4)
    check(apply("split_each", 3, 1, 4, 6)(memory["x"]), grouped[:, 4:].reshape(-1, 4))
    check(apply("heads", 3, 0, 4, 6)(memory["x"]), grouped[:, :4])
    turned = apply("transpose")(apply("heads", 3, 0, 4, 6)(memory["x"]))
    check(turned, grouped[:, :4].swapaxes(1, 2).copy())


def test_ungroup() -> None:
    x = numbers(36, 3)
    memory = arrays(x=x)
    groups = x.reshape(2, 18, 3)
    q, k, v = groups[:, :8], groups[:, 8:12], groups[:, 12:16]
    expected = np.concatenate([part.reshape(-1, 3) for part in (q, k, v)])
    check(apply("ungroup", 2, 3, 8, 4, 4, 2)(memory["x"]), expected)


def test_group_qkv() -> None:
    x, bias = numbers(40, 6), numbers(40)
    memory = arrays(x=x, bias=bias)
    for name, array in (("x", x), ("bias", bias)):
        groups = array.reshape(2, 5, 4, -1)  # three query heads, a key and a value of 4 rows each
        parts = [groups[:, :3], groups[:, 3:4], groups[:, 4:]]
        expected = np.concatenate([part.reshape(-1, groups.shape[-1]) for part in parts]).reshape(array.shape)
        check(apply("group_qkv", 6, 2)(memory[name]), expected)


def test_swap_groups() -> None:
    x, bias = numbers(24, 4), numbers(24)
    memory = arrays(x=x, bias=bias)
    swapped = x.reshape(2, 3, 4, 4).swapaxes(0, 1).reshape(24, 4)
    check(apply("swap_groups", 2, 3)(memory["x"]), swapped)
    check(apply("swap_groups", 2, 3)(memory["bias"]), bias.reshape(2, 3, 4).swapaxes(0, 1).reshape(-1))
    tail = x[6:].reshape(3, 2, 3, 4).swapaxes(0, 1).reshape(18, 4)
    check(apply("swap_groups_after", 6, 3, 2)(memory["x"]), np.concatenate([x[:6], tail]))
    turned = numbers(5, 24)
    memory = arrays(x=turned)
    expected = turned.reshape(5, 2, 3, 4).swapaxes(1, 2).reshape(5, 24)
    check(apply("swap_column_groups", 2, 3)(memory["x"]), expected)


def test_halves_of_stacks() -> None:
    x = numbers(3, 8, 5)
    memory = arrays(x=x)
    for index in (0, 1):
        check(apply("half", index)(memory["x"]), x[:, 4 * index : 4 * index + 4].copy())
        check(apply("every_other", index)(memory["x"]), x[:, index::2].copy())
    bias = numbers(3, 8)
    memory = arrays(x=bias)
    check(apply("every_other_column", 1)(memory["x"]), bias[:, 1::2].copy())


@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 6), (2, 3, 1)])
def test_transpose(shape: tuple[int, ...]) -> None:
    x = numbers(*shape, kind=np.uint16)
    memory = arrays(x=x)
    tensor = apply("transpose")(memory["x"])
    assert tensor.row_group == shape[-1]
    check(tensor, x.swapaxes(-1, -2).copy())


def test_reshapes() -> None:
    conv, vector = numbers(6, 1, 4), numbers(12)
    memory = arrays(conv=conv, vector=vector)
    check(apply("squeeze")(memory["conv"]), conv.reshape(6, 4))


def test_combinations() -> None:
    a, b = numbers(2, 3, 4), numbers(2, 5, 4)
    memory = arrays(a=a, b=b, u=numbers(3), v=numbers(4))
    parts = [memory["a"], memory["b"]]
    check(join("concat", parts, axis=1), np.concatenate([a, b], 1))
    vectors = [memory["u"], memory["v"]]
    check(join("concat", vectors, axis=0), np.concatenate([memory["u"].array, memory["v"].array]))
    with pytest.raises(PlanError, match="does not fit"):
        apply("stack")(parts)
    check(apply("stack")([memory["a"], memory["a"]]), np.stack([a, a]))


def test_different_floats_combine_wide() -> None:
    a, b, c = numbers(2, 3), numbers(2, 3, kind=np.float16), numbers(2, 3, kind=np.uint16)
    memory = arrays(a=a, b=b, c=c)
    expected = np.stack([a, b.astype(np.float32), (c.astype(np.uint32) << 16).view(np.float32)])
    check(apply("stack")([memory["a"], memory["b"], memory["c"]]), expected)


def test_different_types_do_not_combine() -> None:
    memory = arrays(a=numbers(2, 3), b=numbers(2, 3).astype(np.int32))
    with pytest.raises(PlanError, match="I32"):
        apply("stack")([memory["a"], memory["b"]])


def test_elementwise_is_float32() -> None:
    x = numbers(3, 4, kind=np.uint16)
    memory = arrays(x=x)
    wide = as_float32(x, "BF16")
    assert np.array_equal(wide, (x.astype(np.uint32) << 16).view(np.float32))
    check(apply("add", 1)(memory["x"]), wide + np.float32(1))


def test_mxfp4_moves_halves() -> None:
    packed = np.arange(16, dtype=np.uint8).reshape(1, 1, 16)  # weight 2i is i, weight 2i + 1 is 0
    packed |= np.uint8(0x50)
    scales = np.array([[121]], np.uint8)
    memory = arrays(blocks=packed, scales=scales)
    tensor = apply("mxfp4")([memory["blocks"], memory["scales"]])
    assert (tensor.dtype, tensor.shape) == ("MXFP4", (1, 32))
    weights = [n for i in range(16) for n in (i, 5)]
    expected = [121, *(weights[i] | weights[i + 16] << 4 for i in range(16))]
    assert tensor.read(0, 1).tolist() == [expected]


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
    memory = arrays(x=numbers(7, 2))
    with pytest.raises(PlanError, match="does not fit 7 x 2"):
        apply(name, *arguments)(memory["x"])


def test_what_float32_cannot_hold_becomes_infinite() -> None:
    """The encoder says so of a tensor; numpy's warnings are errors here."""
    memory = arrays(x=np.array([[3e38, 1], [np.inf, -3e38]], np.float32))
    scaled = registry.lookup("operation", "scale")(memory["x"], 2.0)
    assert scaled.read(0, 2).tolist() == [[np.inf, 2], [np.inf, -np.inf]]
