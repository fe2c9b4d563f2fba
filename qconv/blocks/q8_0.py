"""Q8_0: blocks of 32 weights, a scale and 8 bits a weight: ``x = d * q``."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.by_extremes import AT_ONCE, FACTORS, encode_by_extremes
from qconv.blocks.compile import kernel
from qconv.blocks.groups import encode_groups
from qconv.blocks.lanes import (
    any_lane,
    as_float,
    bits,
    f32,
    floats,
    inline,
    load,
    most,
    narrow,
    scratch,
    select,
    store,
    to_float,
    to_half,
    to_int,
    u16,
    widen,
)
from qconv.blocks.tiles import INFINITY, SIGN, put_half
from qconv.blocks.unpack import half

_BYTES = 34
_BELOW_HALF = 0x3EFFFFFF
"""Bits of 0.49999997."""


def encode_rows(
    rows: NDArray[Any], importance: NDArray[np.float32] | None, out: NDArray[np.uint8], search: str
) -> bool:
    """See ``qconv.blocks``."""
    return encode_groups(_encode, rows, None, out, AT_ONCE)


def decode_rows(blocks: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """See ``qconv.blocks``."""
    _decode(blocks.reshape(-1), blocks.reshape(-1).view(np.uint16), out.reshape(-1))


@inline
def _rounded(v):
    """Lanes rounded half away from zero, as C's ``roundf``: the number below 1/2 is added away from zero, the rest cut.

    With 1/2 itself the largest number below it would come to 1.
    """
    return to_int(v + floats(bits(v) & SIGN | _BELOW_HALF))


@kernel
def _encode(rows, importance, first, out):
    factors = scratch(FACTORS, f32), scratch(FACTORS, u16)
    return encode_by_extremes(rows, out, 127, _BYTES, _fit, _write, factors)


@inline
def _fit(x, start, greatest, unsigned, top, place, factors):
    inverses, halves = factors
    largest = most(greatest, unsigned & 0x7FFFFFFF)
    if any_lane(largest >= INFINITY):
        return False
    scale = floats(largest) / np.float32(top)
    inverse = 1.0 / scale
    # where the scale is too small to invert, ggml's levels are those of infinity, which come out as 0
    store(inverses, place, select(inverse < np.inf, inverse, 0.0))
    store(halves, place, to_half(scale))
    return True


@inline
def _write(x, start, out, begin, top, place, factors):
    inverses, halves = factors
    put_half(out, begin, halves[place])
    store(out, begin + 2, narrow(_rounded(as_float(load(x, start, 32)) * inverses[place])))


@kernel
def _decode(blocks, halves, out):
    for i in range(blocks.size // _BYTES):
        levels = (widen(load(blocks, i * _BYTES + 2, 32)) ^ 128) - 128
        store(out, i * 32, to_float(levels) * half(halves, i * _BYTES // 2))
