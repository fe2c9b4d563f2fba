"""Operations that single models need, by hand arithmetic or against torch's bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qconv.errors import FormatError, PlanError
from qconv.tensors import as_int32, combinations
from qconv.tensors.mean import mean
from tests.tensors.arrays import ArrayTensor
from tests.tensors.test_operations import KINDS, apply, check, numbers

TORCH_MEAN = [  # of as many numbers of default_rng(count), from torch 2.13
    (5, "-0x1.4f1e540000000p-3"),
    (100, "0x1.3af3f80000000p-5"),
    (509, "0x1.0fd63c0000000p-8"),
    (1024, "-0x1.2d4c8e0000000p-5"),
]
TORCH_NORM = ["0x1.1a589e0000000p+4", "0x1.210e140000000p+4", "0x1.0fc6020000000p+4", "0x1.1149aa0000000p+4"]
"""Of the columns of 300 x 4 numbers."""


def test_one_number_is_all_there_is() -> None:
    tensor = ArrayTensor("x", numbers(3, 2))
    check(apply("one_number", 4, 0.1)(tensor), np.full(4, 0.1, np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_permute_rope_in_heads_counts_them(kind: Any) -> None:
    x = numbers(12, 3, kind=kind)
    tensor = ArrayTensor("x", x)
    check(apply("permute_rope_in_heads", 6)(tensor), x[[0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]])


def test_permute_rope_in_heads_wants_whole_heads() -> None:
    tensor = ArrayTensor("x", numbers(10, 3))
    with pytest.raises(PlanError, match="10 is not a multiple of 6"):
        apply("permute_rope_in_heads", 6)(tensor)


@pytest.mark.parametrize("kind", KINDS)
def test_unmix_rope_in_heads(kind: Any) -> None:
    x = numbers(12, 3, kind=kind)
    order = [0, 2, 1, 3, 4, 5, 6, 8, 7, 9, 10, 11]  # of each head of six rows four rotate
    check(apply("unmix_rope_in_heads", 6, 4)(ArrayTensor("x", x)), x[order])
    check(apply("unmix_rope_in_heads", 6, 4)(ArrayTensor("x", x[:, 0])), x[order, 0])
    check(apply("unmix_rope_in_heads", 4, 4)(ArrayTensor("x", x)), x[[0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11]])
    check(apply("unmix_rope_in_heads", 6, 0)(ArrayTensor("x", x)), x)


@pytest.mark.parametrize("rotating", [3, 8])
def test_unmix_rope_in_heads_wants_pairs(rotating: int) -> None:
    with pytest.raises(PlanError, match=f"{rotating} of a head's 6 rows cannot rotate in pairs"):
        apply("unmix_rope_in_heads", 6, rotating)(ArrayTensor("x", numbers(12, 3)))


def test_as_convolution() -> None:
    x = numbers(6, 4)
    check(apply("as_convolution")(ArrayTensor("x", x)), x.reshape(1, 6, 1, 4))
    check(apply("as_convolution")(ArrayTensor("x", x.reshape(6, 1, 4))), x.reshape(1, 6, 1, 4))
    with pytest.raises(PlanError, match="no one filter for each channel"):
        apply("as_convolution")(ArrayTensor("x", x.reshape(3, 2, 4)))


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_negate_second_half(kind: Any) -> None:
    x = numbers(8, 3, kind=kind)
    x[2, 0] = 0
    tensor = ArrayTensor("x", x)
    sign = np.array([1, 1, -1, -1] * 2, kind)[:, None]
    check(apply("negate_second_half", 4)(tensor), x * sign)


def test_negate_second_half_turns_the_sign_of_bfloat16() -> None:
    tensor = ArrayTensor("x", np.array([[0x3F80], [0xBF80]], np.uint16))  # 1, -1
    check(apply("negate_second_half", 2)(tensor), np.array([[0x3F80], [0x3F80]], np.uint16))


def test_negate_second_half_is_for_matrices() -> None:
    tensor = ArrayTensor("x", numbers(8))
    with pytest.raises(PlanError, match="not a matrix of floats"):
        apply("negate_second_half", 4)(tensor)


@pytest.mark.parametrize("kind", KINDS)
def test_one_after_another(kind: Any) -> None:
    a, b, c, d = numbers(2, 3, kind=kind), numbers(5, 3, kind=kind), numbers(4, kind=kind), numbers(1, kind=kind)
    together = apply("one_after_another")
    check(together([ArrayTensor("a", a), ArrayTensor("b", b)]), np.concatenate([a, b]))
    check(together([ArrayTensor("c", c), ArrayTensor("d", d)]), np.concatenate([c, d]))


@pytest.mark.parametrize("kind", KINDS)
def test_side_by_side(kind: Any) -> None:
    a, b = numbers(4, 3, kind=kind), numbers(4, 5, kind=kind)
    check(apply("side_by_side")([ArrayTensor("a", a), ArrayTensor("b", b)]), np.concatenate([a, b], axis=1))


def test_side_by_side_is_for_as_many_rows() -> None:
    with pytest.raises(PlanError, match="side_by_side does not fit"):
        apply("side_by_side")([ArrayTensor("a", numbers(4, 3)), ArrayTensor("b", numbers(3, 3))])


@pytest.mark.parametrize("kind", KINDS)
def test_after_empty_slot(kind: Any) -> None:
    x = numbers(2 * 3, 4, kind=kind).reshape(2, 1, 3, 4)
    expected = np.concatenate([np.zeros((1, 3, 4), kind), x[:, 0]])
    check(apply("after_empty_slot")(ArrayTensor("x", x)), expected)
    with pytest.raises(PlanError, match="no stack of adapters"):
        apply("after_empty_slot")(ArrayTensor("x", x[:, 0]))


def test_permute_rope_in_slots() -> None:
    """Of each head of four rows the first and third, the second and fourth come to stand side by side."""
    x = numbers(2 * 8, 3).reshape(2, 1, 8, 3)
    expected = x[:, :, [0, 2, 1, 3, 4, 6, 5, 7]]
    check(apply("permute_rope_in_slots", 4)(ArrayTensor("x", x)), expected)
    with pytest.raises(PlanError, match="not heads of 3"):
        apply("permute_rope_in_slots", 3)(ArrayTensor("x", x))


def test_permute_rope_above() -> None:
    x = numbers(10, 3)
    check(apply("permute_rope_above", 4, 2)(ArrayTensor("x", x)), x[[0, 2, 1, 3, 4, 6, 5, 7, 8, 9]])
    with pytest.raises(PlanError, match="no rows above 10"):
        apply("permute_rope_above", 4, 10)(ArrayTensor("x", x))


@pytest.mark.parametrize(("count", "bits"), TORCH_MEAN)
def test_mean_has_torchs_bits(count: int, bits: str) -> None:
    assert float(mean(numbers(count))) == float.fromhex(bits)


def test_subtract_mean() -> None:
    tensor = ArrayTensor("x", np.array([1, 2, 6], np.float32))
    check(apply("subtract_mean")(tensor), np.array([-2, -1, 3], np.float32))


def test_subtract_mean_rounds_as_half_precision_does() -> None:
    """The mean of 1, 1 and 1.5 is 1.1669921875 in half precision, which half precision takes from each exactly."""
    tensor = ArrayTensor("x", np.array([1, 1, 1.5], np.float16))
    expected = np.array([-0.1669921875, -0.1669921875, 0.3330078125], np.float32)
    check(apply("subtract_mean")(tensor), expected)


def test_subtract_mean_rounds_as_bfloat16_does() -> None:
    """The mean of 1, 1 and 1.5 is 1.1640625 in bfloat16, which bfloat16 takes from each exactly."""
    tensor = ArrayTensor("x", np.array([0x3F80, 0x3F80, 0x3FC0], np.uint16))
    expected = np.array([-0.1640625, -0.1640625, 0.3359375], np.float32)
    check(apply("subtract_mean")(tensor), expected)


def test_subtract_mean_is_for_vectors() -> None:
    tensor = ArrayTensor("x", numbers(3, 2))
    with pytest.raises(PlanError, match="not one dimension"):
        apply("subtract_mean")(tensor)


def test_unit_columns() -> None:
    tensor = ArrayTensor("x", np.array([[3, 0], [4, -2]], np.float32))
    lengths = np.array([5, 2], np.float32) + np.float32(1e-7)
    check(apply("unit_columns")(tensor), tensor.array / lengths)


def test_unit_columns_has_torchs_lengths() -> None:
    x = numbers(300, 4)
    tensor = ArrayTensor("x", x)
    lengths = np.array([float.fromhex(bits) for bits in TORCH_NORM], np.float32) + np.float32(1e-7)
    check(apply("unit_columns")(tensor), x / lengths)


@pytest.mark.parametrize(
    ("name", "factor"), [("blocks.0.a", 1), ("blocks.5.a", 1), ("blocks.6.a", 0.5), ("b.13.a", 0.25)]
)
def test_halve_every(name: str, factor: float) -> None:
    x = numbers(3, 2)
    tensor = ArrayTensor(name, x)
    check(apply("halve_every", 6)(tensor), x * np.float32(factor))


def test_halve_every_0_halves_nothing() -> None:
    tensor = ArrayTensor("blocks.6.a", numbers(3, 2))
    assert apply("halve_every", 0)(tensor) == tensor


def test_matrices_of_a_row() -> None:
    x = numbers(6, 4)
    tensor = ArrayTensor("x", x)
    check(apply("matrices_of_a_row")(tensor), x.reshape(6, 1, 1, 4))


@pytest.mark.parametrize("shape", [(10, 3), (5, 2, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_exchange_blocks(kind: Any, shape: tuple[int, ...]) -> None:
    x = numbers(*shape, kind=kind)
    tensor = ArrayTensor("x", x)
    expected = x.reshape(5, 2, 3)[[3, 1, 2, 0, 4]].reshape(shape)
    check(apply("exchange_blocks", 5, 0, 3)(tensor), expected)


@pytest.mark.parametrize("arguments", [(5, 0, 5), (4, 0, 1)])
def test_exchange_blocks_wants_such_blocks(arguments: tuple[int, int, int]) -> None:
    tensor = ArrayTensor("x", numbers(10, 3))
    with pytest.raises(PlanError, match="does not fit 10 x 3"):
        apply("exchange_blocks", *arguments)(tensor)


def test_integers_become_32_bits_wide() -> None:
    x = np.array([[0, -1], [2**31 - 1, -(2**31)]], np.int64)
    tensor = as_int32(ArrayTensor("x", x))
    assert (tensor.dtype, tensor.shape) == ("I32", (2, 2))
    assert np.array_equal(tensor.read(0, 2), x)
    with pytest.raises(FormatError, match="more than 32 bits"):
        as_int32(ArrayTensor("x", x + 1)).read(0, 2)
    with pytest.raises(PlanError, match="it is F32"):
        as_int32(ArrayTensor("x", numbers(2, 2)))


def test_exponential() -> None:
    x = np.array([0.0, np.log(2.0)], np.float32)
    assert apply("exponential")(ArrayTensor("x", x)).read(0, 1).tolist() == [[1.0, 2.0]]


TORCH_SOFTPLUS = {
    -20.0: "0x1.1b48660000000p-29", -1.5: "0x1.9c7e920000000p-3", -0.1484375: "0x1.3e4cda0000000p-1",
    0.0: "0x1.62e4300000000p-1", 0.3662304: "0x1.c92eca0000000p-1", 2.0: "0x1.103f2e0000000p+1", 21.0: "0x1.5p+4",
}  # fmt: skip
"""Of 32 numbers, from torch 2.13; of the third a correctly rounded function makes other bits."""


def test_softplus_is_torchs_to_the_bit() -> None:
    x = np.array(list(TORCH_SOFTPLUS), np.float32)
    made = apply("softplus")(ArrayTensor("x", x)).read(0, 1)
    assert made[0].tolist() == [float.fromhex(value) for value in TORCH_SOFTPLUS.values()]


@pytest.mark.parametrize("kind", KINDS)
def test_planes_part_the_channels_of_pixels(kind: Any) -> None:
    x = numbers(2, 6, kind=kind)
    check(apply("planes", 3)(ArrayTensor("x", x)), x[:, [0, 3, 1, 4, 2, 5]])
    check(apply("planes", 3)(ArrayTensor("x", x[0])), x[0, [0, 3, 1, 4, 2, 5]])
    with pytest.raises(PlanError, match="6 is not a multiple of 4"):
        apply("planes", 4)(ArrayTensor("x", x))


@pytest.mark.parametrize("kind", KINDS)
def test_unmix_rope_2d_leaves_values_alone(kind: Any) -> None:
    x = numbers(48, 3, kind=kind)  # queries, keys and values of two heads of eight rows
    order = [0, 1, 4, 5, 2, 3, 6, 7]
    rows = [head * 8 + row for head in range(4) for row in order] + list(range(32, 48))
    check(apply("unmix_rope_2d", 2)(ArrayTensor("x", x)), x[rows])
    check(apply("unmix_rope_2d", 2)(ArrayTensor("x", x[:, 0])), x[rows, 0])
    with pytest.raises(PlanError, match="16 is not a multiple of 12"):
        apply("unmix_rope_2d", 3)(ArrayTensor("x", x))


def test_as_channels() -> None:
    x = numbers(5, 1)[:, 0]
    check(apply("as_channels")(ArrayTensor("x", x)), x.reshape(1, 5, 1, 1))


TORCH_RESAMPLED = [
    "0x1.238e080000000p-1", "0x1.317f640000000p-1", "-0x1.61055a0000000p-2", "0x1.0577780000000p-3",
    "-0x1.109a5a0000000p+0", "0x1.b6d1b00000000p-4", "-0x1.6e34900000000p-2", "0x1.61a61a0000000p-4",
]  # fmt: skip
"""The sixth of 4 x 4 vectors that torch 2.13 makes of 8 x 8 of default_rng(64)."""


def test_resample_grid_is_torchs_to_the_bit() -> None:
    x = np.random.default_rng(64).standard_normal((1, 64, 8)).astype(np.float32)
    made = apply("resample_grid", 4)(ArrayTensor("x", x))
    assert made.read(5, 6)[0].tolist() == [float.fromhex(value) for value in TORCH_RESAMPLED]
    corners = made.read(0, 16)[[0, 3, 12, 15]]
    assert np.array_equal(corners, x[0, [0, 7, 56, 63]])
    check(made, made.read(0, 16)[None])
    assert [(r.start, r.stop) for r in made.reads(4, 8)] == [(16, 32)]  # type: ignore[attr-defined]  # of what it is


def test_resample_grid_leaves_a_grid_of_that_size_and_refuses_what_is_none() -> None:
    tensor = ArrayTensor("x", numbers(1, 16, 3))
    assert apply("resample_grid", 4)(tensor) is tensor
    with pytest.raises(PlanError, match="16 vectors are no square grid"):
        apply("resample_grid", 0)(tensor)
    with pytest.raises(PlanError, match="12 vectors are no square grid"):
        apply("resample_grid", 2)(ArrayTensor("x", numbers(1, 12, 3)))


def test_kernels_keep_their_values() -> None:
    x = numbers(4, 27)
    check(apply("as_kernels", 3, 3)(ArrayTensor("x", x)), x.reshape(4, 3, 3, 3))
    check(apply("as_depthwise")(ArrayTensor("x", x[:, None])), x.reshape(1, 1, 4, 27))


@pytest.mark.parametrize("kind", KINDS)
def test_stack_padded_makes_all_as_long_as_the_longest(kind: Any) -> None:
    short, long = numbers(2, 3, kind=kind), numbers(4, 3, kind=kind)
    stacked = combinations()["stack_padded"]([ArrayTensor("a", short), ArrayTensor("b", long)])
    check(stacked, np.stack([np.concatenate([short, np.zeros_like(short)]), long]))


@pytest.mark.parametrize("kind", KINDS)
def test_swap_outer(kind: Any) -> None:
    x = numbers(6, 5, kind=kind).reshape(2, 3, 5)
    check(apply("swap_outer")(ArrayTensor("x", x)), x.swapaxes(0, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_repeat_first_row(kind: Any) -> None:
    x = numbers(2, 3, kind=kind)
    check(apply("repeat_first_row", 3)(ArrayTensor("x", x)), x[[0, 0, 0]])
    with pytest.raises(PlanError, match="it cannot be there 0 times"):
        apply("repeat_first_row", 0)(ArrayTensor("x", x))


def test_plus_place() -> None:
    tensor = apply("plus_place")(ArrayTensor("x", np.array([0, 0, 2, 2], np.int64)))
    assert (tensor.dtype, tensor.shape, tensor.read(0, 1).tolist()) == ("I64", (4,), [[0, 1, 4, 5]])
    with pytest.raises(PlanError, match="not a list of integers"):
        apply("plus_place")(ArrayTensor("x", numbers(4)))


def test_multiply_two_lists() -> None:
    one, other = np.array([1, 2, 3], np.float32), np.array([[4, 5, 0.5]], np.float16)
    product = apply("multiply")([ArrayTensor("a", one), ArrayTensor("b", other)])
    assert (product.dtype, product.shape, product.read(0, 1).tolist()) == ("F32", (3,), [[4, 10, 1.5]])
    with pytest.raises(PlanError, match="does not go with 2 x 3"):
        apply("multiply")([ArrayTensor("a", one), ArrayTensor("b", numbers(2, 3))])


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_a_convolution_over_time(kind: Any) -> None:
    x = numbers(4, 3, 2, 2, 5, kind=kind)
    for index in range(2):
        check(apply("frame", index, 2)(ArrayTensor("x", x)), x[:, :, index])


@pytest.mark.parametrize("shape", [(4, 3, 3, 2, 5), (4, 3, 2, 5)])
def test_frames_are_as_many_as_said(shape: tuple[int, ...]) -> None:
    with pytest.raises(PlanError, match="it is no convolution over 2 frames"):
        apply("frame", 0, 2)(ArrayTensor("x", numbers(*shape)))


@pytest.mark.parametrize("kind", KINDS)
def test_queries_keys_and_values_in_one(kind: Any) -> None:
    x = numbers(6, 3, kind=kind)
    for index, rows in enumerate(([0, 1], [2, 3], [4, 5])):
        check(apply("equal_part", index, 3)(ArrayTensor("x", x)), x[rows])
        check(apply("equal_part", index, 3)(ArrayTensor("x", x[:, 0])), x[rows, 0])
    with pytest.raises(PlanError, match="6 is not a multiple of 4"):
        apply("equal_part", 0, 4)(ArrayTensor("x", x))


@pytest.mark.parametrize("kind", KINDS)
def test_axes_of_rotating_heads_are_gathered(kind: Any) -> None:
    """Heads of 14 rows: of three axes two halves of two rows each, and two rows that do not rotate."""
    x = numbers(28, 3, kind=kind)
    order = [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11, 12, 13]
    both = [*order, *(14 + row for row in order)]
    check(apply("gather_axes", 2, 3)(ArrayTensor("x", x)), x[both])
    check(apply("gather_axes", 2, 3)(ArrayTensor("x", x[:, 0])), x[both, 0])
    whole = [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]
    check(apply("gather_axes", 1, 3)(ArrayTensor("x", x[:12])), x[whole])


def test_two_frames_become_one_image() -> None:
    x = numbers(2, 24)
    check(apply("sum_frames", 2, 3)(ArrayTensor("x", x)), (x[:, :12] + x[:, 12:]).reshape(2, 3, 2, 2))
    short = np.array([[2048.0, 1.0], [1.0, 3.0]], np.float16)  # 2049 is none, 2048 is even
    check(apply("sum_frames", 2, 1)(ArrayTensor("x", short)), np.array([2048, 4], np.float32).reshape(2, 1, 1, 1))
    with pytest.raises(PlanError, match="its rows are no squares of 3 channels in two frames"):
        apply("sum_frames", 2, 3)(ArrayTensor("x", numbers(2, 20)))
