"""Q8_0: blocks of 32 weights, a scale and 8 bits a weight: ``x = d * q``."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.compile import kernel
from qconv.blocks.groups import encode_groups
from qconv.blocks.lanes import (
    any_lane,
    as_float,
    bits,
    f32,
    floats,
    i32,
    inline,
    load,
    most,
    narrow,
    scratch,
    select,
    size,
    store,
    store_turned,
    to_float,
    to_half,
    to_int,
    u16,
    widen,
)
from qconv.blocks.tiles import INFINITY
from qconv.blocks.unpack import half

_BYTES = 34
_SIGN = -0x80000000
_BELOW_HALF = 0x3EFFFFFF
"""Bits of 0.49999997."""


def encode_rows(
    rows: NDArray[Any], importance: NDArray[np.float32] | None, out: NDArray[np.uint8], search: str
) -> bool:
    """See ``qconv.blocks``."""
    return encode_groups(_encode, rows, None, out, 16 * 32)


def decode_rows(blocks: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """See ``qconv.blocks``."""
    _decode(blocks.reshape(-1), blocks.reshape(-1).view(np.uint16), out.reshape(-1))


@inline
def _sizes(rows, i):
    """The larger |x| of weights ``i + k`` and ``i + 16 + k``, as bits: these compare as the numbers do, NaN on top."""
    return most(bits(size(as_float(load(rows, i, 16)))), bits(size(as_float(load(rows, i + 16, 16)))))


@inline
def _rounded(v):
    """Lanes rounded half away from zero, as C's ``roundf``: the number below 1/2 is added away from zero, the rest cut.

    With 1/2 itself the largest number below it would come to 1.
    """
    return to_int(v + floats(bits(v) & _SIGN | _BELOW_HALF))


@kernel
def _encode(rows, importance, first, out):
    sizes, scales, halves = scratch(256, i32), scratch(16, f32), scratch(16, u16)
    for start in range(0, rows.size, 512):
        sixteen = (
            _sizes(rows, start),
            _sizes(rows, start + 32),
            _sizes(rows, start + 64),
            _sizes(rows, start + 96),
            _sizes(rows, start + 128),
            _sizes(rows, start + 160),
            _sizes(rows, start + 192),
            _sizes(rows, start + 224),
            _sizes(rows, start + 256),
            _sizes(rows, start + 288),
            _sizes(rows, start + 320),
            _sizes(rows, start + 352),
            _sizes(rows, start + 384),
            _sizes(rows, start + 416),
            _sizes(rows, start + 448),
            _sizes(rows, start + 480),
        )
        store_turned(sizes, 0, 16, sixteen)
        largest = load(sizes, 0, 16)
        for i in range(1, 16):
            largest = most(load(sizes, i * 16, 16), largest)
        if any_lane(largest >= INFINITY):
            return False
        scale = floats(largest) / 127.0
        inverse = 1.0 / scale
        # where the scale is too small to invert, ggml's levels are those of infinity, which come out as 0
        store(scales, 0, select(inverse < np.inf, inverse, 0.0))
        store(halves, 0, to_half(scale))
        begin = start // 32 * _BYTES
        for b in range(16):
            at = begin + b * _BYTES
            out[at] = halves[b] & 0xFF
            out[at + 1] = halves[b] >> 8
            store(out, at + 2, narrow(_rounded(as_float(load(rows, start + b * 32, 32)) * scales[b])))
    return True


@kernel
def _decode(blocks, halves, out):
    for i in range(blocks.size // _BYTES):
        levels = (widen(load(blocks, i * _BYTES + 2, 32)) ^ 128) - 128
        store(out, i * 32, to_float(levels) * half(halves, i * _BYTES // 2))
