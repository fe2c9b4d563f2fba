"""Grids kept in block types, decoded again by llama.cpp's own package; and the reasons where none holds them."""

from __future__ import annotations

from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from qconv.blocks import decode, encode
from qconv.tensors import Constant, LazyTensor, bitnet_codes, combinations, member, operations, scaled
from qconv.tensors.quantized import Codes, Lossless, VerticalCodes, affine, divided, fp4_weight, lossless, retyped
from tests.tensors.arrays import ArrayTensor

ROWS, COLUMNS = 6, 128


def decoded(kept: Lossless) -> NDArray[np.float32]:
    rows = kept.tensor.read(0, ROWS)
    return gguf.dequantize(rows, gguf.GGMLQuantizationType[kept.block_type]).reshape(ROWS, COLUMNS)


def codes(bits: int) -> Codes:
    words = np.random.default_rng(bits).integers(0, 256, (ROWS, COLUMNS * bits // 8), np.uint8)
    return Codes(ArrayTensor("codes", words), bits, COLUMNS)


def scales(group: int = 32) -> LazyTensor:
    numbers = np.random.default_rng(9).random((ROWS, COLUMNS // group)) * 0.01 + 0.001
    return ArrayTensor("scales", numbers.astype(np.float16))


def kept(tensor: LazyTensor) -> Lossless:
    result = lossless(tensor)
    assert isinstance(result, Lossless), result
    return result


@pytest.mark.parametrize(
    ("bits", "block_type"), [(2, "Q4_0"), (3, "Q4_0"), (4, "Q4_0"), (5, "Q5_0"), (6, "Q8_0"), (8, "Q8_0")]
)
@pytest.mark.parametrize("group", [32, 64, COLUMNS])
def test_symmetric_codes_lose_nothing(bits: int, block_type: str, group: int) -> None:
    tensor = affine(codes(bits), scales(group), zero=1 << (bits - 1), group=group)
    result = kept(tensor)
    assert (result.block_type, result.how) == (block_type, "")
    np.testing.assert_array_equal(decoded(result), tensor.read(0, ROWS))
    np.testing.assert_array_equal(result.tensor.read(2, 5), result.tensor.read(0, ROWS)[2:5])


@pytest.mark.parametrize(("bits", "block_type"), [(2, "Q4_1"), (4, "Q4_1"), (5, "Q5_1")])
def test_offsets_that_f16_holds_lose_nothing(bits: int, block_type: str) -> None:
    tensor = affine(codes(bits), scales(), offset=scales())
    result = kept(tensor)
    assert (result.block_type, result.how) == (block_type, "")
    np.testing.assert_array_equal(decoded(result), tensor.read(0, ROWS))


def test_zero_points_become_offsets_rounded_once() -> None:
    zero = np.random.default_rng(3).integers(0, 16, (ROWS, 4)).astype(np.uint8)
    tensor = affine(codes(4), scales(), zero=ArrayTensor("zero", zero))
    result = kept(tensor)
    assert (result.block_type, result.how) == ("Q4_1", "one rounding of the offsets")
    factors = scales().read(0, ROWS).astype(np.float32)
    offsets = (-zero.astype(np.float32) * factors).astype(np.float16).astype(np.float32)
    numbers = codes(4).read(0, ROWS).astype(np.float32)
    np.testing.assert_array_equal(decoded(result), numbers * factors.repeat(32, 1) + offsets.repeat(32, 1))


def test_offsets_beside_a_zero_point() -> None:
    """torchao's: numbers around 0, which are codes less 8, and an offset."""
    tensor = affine(codes(4), scales(), zero=8, offset=scales())
    result = kept(tensor)
    assert (result.block_type, result.how) == ("Q4_1", "one rounding of the offsets")
    factors = scales().read(0, ROWS).astype(np.float32)
    offsets = (factors - 8 * factors).astype(np.float16).astype(np.float32)
    numbers = codes(4).read(0, ROWS).astype(np.float32)
    np.testing.assert_array_equal(decoded(result), numbers * factors.repeat(32, 1) + offsets.repeat(32, 1))


def test_codes_packed_down_the_rows() -> None:
    """ModelOpt's, in two's complement."""
    pairs = np.random.default_rng(6).integers(0, 256, (ROWS // 2, COLUMNS), np.uint8)
    result = kept(affine(VerticalCodes(ArrayTensor("codes", pairs), 4, ROWS, plus=8), scales(), zero=8))
    assert (result.block_type, result.how) == ("Q4_0", "")
    signed = np.stack([pairs << 4, pairs & 0xF0], 1).reshape(ROWS, COLUMNS).view(np.int8) >> 4
    factors = scales().read(0, ROWS).astype(np.float32)
    np.testing.assert_array_equal(decoded(result), signed.astype(np.float32) * factors.repeat(32, 1))


def test_zero_points_that_are_all_the_middle_are_symmetric() -> None:
    tensor = affine(codes(4), scales(), zero=ArrayTensor("zero", np.full((ROWS, 4), 8, np.uint8)))
    assert kept(tensor).block_type == "Q4_0"


def test_integers_of_channels() -> None:
    numbers = np.random.default_rng(4).integers(-128, 128, (ROWS, COLUMNS)).astype(np.int8)
    tensor = scaled(ArrayTensor("w", numbers), scales(COLUMNS), None)
    result = kept(tensor)
    assert result.block_type == "Q8_0"
    np.testing.assert_array_equal(decoded(result), tensor.read(0, ROWS))


def test_mxfp4() -> None:
    rng = np.random.default_rng(5)
    packed = ArrayTensor("w", rng.integers(0, 256, (ROWS, COLUMNS // 2), np.uint8))
    tensor = fp4_weight(packed, ArrayTensor("s", rng.integers(120, 130, (ROWS, COLUMNS // 32), np.uint8)))
    result = kept(tensor)
    assert (result.block_type, result.how) == ("MXFP4", "")
    np.testing.assert_array_equal(decoded(result), tensor.read(0, ROWS))


@pytest.mark.parametrize("by", ["times", "over"])
def test_ternary_weights_are_found_again_by_the_encoder(by: str) -> None:
    """In blocks of 256; a scale that F16 holds, or whose inverse it holds, loses nothing."""
    rng = np.random.default_rng(8)
    fields = np.zeros((2, 256), np.uint8)
    for i in range(4):
        fields |= rng.integers(0, 3, fields.shape, np.uint8) << np.uint8(2 * i)
    codes = bitnet_codes(ArrayTensor("w", fields))
    one, four = (Constant(str(n), np.full(1, n, np.float32)) for n in (1, 4))
    tensor: LazyTensor = affine(codes, four, zero=1) if by == "times" else divided(affine(codes, one, zero=1), four)
    result = kept(tensor)
    assert (result.block_type, result.how) == ("TQ2_0", "one rounding of the scale")
    weights = result.tensor.read(0, 8)
    assert set(np.unique(weights)) == ({-4, 0, 4} if by == "times" else {-0.25, 0, 0.25})
    coded = encode("TQ2_0", weights)
    np.testing.assert_array_equal(gguf.dequantize(coded, gguf.GGMLQuantizationType.TQ2_0), weights)


def test_ternary_rows_that_fill_no_block() -> None:
    codes = bitnet_codes(ArrayTensor("w", np.zeros((2, 64), np.uint8)))
    scale = Constant("one", np.ones(1, np.float32))
    assert lossless(affine(codes, scale, zero=1)) == "rows of 64 weights are not a multiple of 256"


def nvfp4(rows: int = ROWS) -> tuple[LazyTensor, LazyTensor]:
    rng = np.random.default_rng(7)
    packed = ArrayTensor("w", rng.integers(0, 256, (rows, COLUMNS // 2), np.uint8))
    scale = ArrayTensor("s", rng.integers(1, 0x7F, (rows, COLUMNS // 16), np.uint8))
    return packed, retyped(scale, "F8_E4M3", "U8")


@pytest.mark.parametrize("second", [None, 0.25])
def test_nvfp4_and_its_second_scale(second: float | None) -> None:
    packed, scale = nvfp4()
    outer = scale if second is None else scaled(scale, Constant("second", np.full(1, second, np.float32)), None)
    result = kept(fp4_weight(packed, outer))
    assert (result.block_type, result.how) == ("NVFP4", "")
    assert result.scale == (() if second is None else (second,))
    numbers = fp4_weight(packed, scale).read(0, ROWS)
    np.testing.assert_array_equal(decode("NVFP4", result.tensor.read(0, ROWS)), numbers)
    np.testing.assert_array_equal(result.tensor.read(1, 3), result.tensor.read(0, ROWS)[1:3])


def test_stacked_experts_have_a_scale_each() -> None:
    packed, scale = nvfp4()
    parts = [fp4_weight(packed, divided(scale, Constant("d", np.full(1, d, np.float32)))) for d in (2.0, 4.0)]
    stacked = kept(combinations()["stack"](parts))
    assert (stacked.tensor.shape, stacked.scale) == ((2, ROWS, COLUMNS), (0.5, 0.25))
    assert kept(operations()["half"](combinations()["stack"](parts), 0)).scale == (0.5, 0.25)
    assert lossless(member(combinations()["stack"](parts), 0)) == "its parts have scales of their own"


def test_negative_scales_are_not_nvfp4s() -> None:
    packed, _ = nvfp4()
    scale = retyped(ArrayTensor("s", np.full((ROWS, COLUMNS // 16), 0x80 | 0x38, np.uint8)), "F8_E4M3", "U8")
    assert lossless(fp4_weight(packed, scale)) == "NVFP4 does not hold scales below zero, or NaN"


def test_rows_in_another_order_are_kept() -> None:
    tensor = operations()["permute_rope"](affine(codes(4), scales(), zero=8), 1)
    np.testing.assert_array_equal(decoded(kept(tensor)), tensor.read(0, ROWS))


def number(value: float, kind: Any) -> LazyTensor:
    bits = np.full((ROWS, 4), value, np.float32)
    return ArrayTensor("scales", bits if kind == "F32" else (bits.view(np.uint32) >> 16).astype(np.uint16))


def float8() -> LazyTensor:
    return retyped(ArrayTensor("w", np.zeros((ROWS, 64), np.uint8)), "F8_E4M3", "U8")


@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        (lambda: affine(codes(4), number(1e-9, "F32"), zero=8), "F16 does not hold its scales"),
        (lambda: affine(codes(4), number(1e20, "BF16"), zero=8), "F16 does not hold its scales"),
        (lambda: affine(codes(4), number(np.inf, "F32"), zero=8), "F16 does not hold its scales"),
        (lambda: affine(codes(4), scales(16), zero=8), "groups of 16 columns are not a multiple of 32"),
        (lambda: affine(codes(8), scales(), offset=scales()), "8 bits with offsets, which no type holds"),
        (lambda: affine(codes(8), scales(), zero=1), "8 bits around 1, which no type holds"),
        (lambda: operations()["add"](affine(codes(4), scales(), zero=8), 1), "an operation changes its values"),
        (
            lambda: scaled(
                retyped(ArrayTensor("w", np.zeros((ROWS, 64), np.uint8)), "F8_E4M3", "U8"), number(1, "F32"), (1, 16)
            ),
            "F8_E4M3 numbers",
        ),
    ],
)
def test_why_nothing_holds_it(tensor: Any, why: str) -> None:
    result = lossless(tensor())
    assert isinstance(result, str)
    assert why in result


def test_groups_by_activation_order_are_not_kept_and_runs_are() -> None:
    runs = ArrayTensor("order", (np.arange(COLUMNS) // 32).astype(np.int32))
    assert kept(affine(codes(4), scales(), zero=8, order=runs)).block_type == "Q4_0"
    shuffled = ArrayTensor("order", np.random.default_rng(6).permutation(np.arange(COLUMNS) // 32).astype(np.int32))
    assert lossless(affine(codes(4), scales(), zero=8, order=shuffled)) == (
        "its groups are no runs of columns (activation order)"
    )


def test_a_plain_tensor_is_nothing_to_keep() -> None:
    assert lossless(Constant("a", np.ones((4, 64), np.float32))) is None
