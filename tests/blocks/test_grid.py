"""The grid of Q4_0 found again in weights made on one, decoded by llama.cpp's own package."""

from __future__ import annotations

from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from qconv.blocks import encode_on_grid

BF16, F16 = (2.0**-7, 2.0**-133), (2.0**-10, 2.0**-24)
COUNT = 400


def bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rounded to BF16 by dropping half of the bits, ties to even."""
    bits = values.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)


def float16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values.astype(np.float16).astype(np.float32)


ROUNDINGS: dict[str, tuple[Any, tuple[float, float]]] = {"BF16": (bfloat16, BF16), "F16": (float16, F16)}


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(("low", "high"), [(-8, 7), (-7, 8), (-7, 7), (-3, 3), (-1, 1), (0, 7)])
def test_every_block_comes_back(rounding: str, low: int, high: int) -> None:
    """Whatever multiples there are, and whichever sign the scale had."""
    rounded, type = ROUNDINGS[rounding]
    rng = np.random.default_rng(high - 8 * low)
    scale = np.ldexp(1 + rng.random((COUNT, 2)), rng.integers(-12, 3, (COUNT, 2))).astype(np.float16)
    numbers = rng.integers(low, high + 1, (COUNT, 64)).astype(np.float32)
    weights = rounded(numbers * scale.astype(np.float32).repeat(32, 1))
    blocks, on_grid = encode_on_grid(weights, *type)
    assert on_grid.all()
    decoded = gguf.dequantize(blocks, gguf.GGMLQuantizationType.Q4_0)
    np.testing.assert_array_equal(rounded(decoded), weights)


def test_codes_and_scale_are_those_that_llama_cpp_wrote() -> None:
    """Its encoder gives each block a multiple of 8, so that there is one way to see it."""
    weights = np.random.default_rng(5).standard_normal((40, 256)).astype(np.float32)
    blocks = gguf.quantize(weights, gguf.GGMLQuantizationType.Q4_0)
    decoded = gguf.dequantize(blocks, gguf.GGMLQuantizationType.Q4_0)
    found, on_grid = encode_on_grid(decoded.astype(np.float16), *F16)
    exact = (float16(decoded) == decoded).reshape(40, 8, 32).all(axis=-1)
    assert exact.sum() > 20
    assert on_grid[exact].all()
    np.testing.assert_array_equal(found.reshape(40, 8, 18)[exact], blocks.reshape(40, 8, 18)[exact])


def test_scales_too_small_to_be_normal_numbers() -> None:
    scale = np.float16(3 * 2.0**-24)
    weights = np.arange(-8, 8, dtype=np.float32).repeat(2)[None] * np.float32(scale)
    blocks, on_grid = encode_on_grid(weights, *BF16)
    assert on_grid.all()
    assert blocks[0, :2].view(np.float16) == scale
    np.testing.assert_array_equal(gguf.dequantize(blocks, gguf.GGMLQuantizationType.Q4_0), weights)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({3: 0.3}, id="between two multiples"),
        pytest.param({3: 8.0, 4: -8.0}, id="both ends"),
        pytest.param({3: np.nan}, id="NaN"),
        pytest.param({3: -np.inf}, id="infinity"),
        pytest.param({3: 9.0}, id="too many multiples"),
        pytest.param(dict.fromkeys(range(32), 1e6), id="a scale beyond F16"),
    ],
)
def test_what_is_off_the_grid_is_told(change: dict[int, float]) -> None:
    weights = np.tile(np.arange(-7, 9, dtype=np.float32), (3, 4))
    for column, value in change.items():
        weights[1, 32 + column] = value
    on_grid = encode_on_grid(weights, *BF16)[1]
    np.testing.assert_array_equal(on_grid, [[True, True], [True, False], [True, True]])


def test_zeros_have_a_scale_of_zero() -> None:
    blocks, on_grid = encode_on_grid(np.zeros((1, 32), np.uint16), *BF16)
    assert on_grid.all()
    np.testing.assert_array_equal(blocks, [[0, 0, *[0x88] * 16]])
