"""Q6_K: super-blocks of 256 in 210 bytes, 16 sub-blocks of 16 with 8-bit scales, 6 bits a weight.

A lane is a sub-block; ``TOGETHER`` super-blocks are worked on at once, and lane ``j * TOGETHER + s`` is sub-block ``j``
of super-block ``s``.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from qconv.blocks.compile import flat, kernel
from qconv.blocks.groups import find_blocks, find_importance
from qconv.blocks.lanes import (
    LANES,
    any_lane,
    as_float,
    at,
    bits,
    f32,
    floats,
    from_half,
    i32,
    inline,
    least,
    load,
    most,
    narrow,
    repeat,
    repeated,
    scratch,
    select,
    size,
    splat,
    store,
    to_float,
    to_half,
    u16,
    widen,
)
from qconv.blocks.search_scale import search_scale
from qconv.blocks.tiles import INFINITY, LEAST, fetch_ahead, gather, put_half, to_nearest
from qconv.blocks.unpack import half, signed

TOGETHER = LANES // 16
_TILE = 16 * LANES
_SCALES, _D = 192, 208
"""Where in a block the scales and the factor are."""


@kernel
def _encode(x, importance, out):
    count = x.size // 256
    tile, w = scratch(_TILE, f32), scratch(_TILE, f32)
    blocks, starts = scratch(TOGETHER, types.int64), scratch(LANES, types.int64)
    scales, inverses, shifts = scratch(LANES, f32), scratch(LANES, f32), scratch(LANES, f32)
    rounded, halves = scratch(LANES, i32), scratch(TOGETHER, u16)
    for base in range(0, count, TOGETHER):
        here = min(TOGETHER, count - base)
        find_blocks(blocks, starts, base, here, None, 16)
        gather(x, starts, 16, tile)
        if importance is not None:
            find_importance(starts, blocks, importance.size, 16)
            gather(importance, starts, 16, w)
        scale, inverse, largest = search_scale(tile, w, importance is None, 16, 32, False)
        if any_lane(largest >= INFINITY):
            return False
        nothing = floats(largest) < LEAST
        store(scales, 0, scale)
        store(inverses, 0, select(nothing, 0.0, inverse))
        store(shifts, 0, select(nothing, splat(-32.0, LANES), 0.0))  # ggml leaves the levels of such a sub-block at -32
        _round(scales, inverses, shifts, rounded, halves)
        for s in range(here):
            fetch_ahead(x, (blocks[s] + 2 * TOGETHER) * 256, 256)
            _write(x, blocks[s], s, scales, inverses, shifts, rounded, halves, out)
    return True


@inline
def _round(values, inverses, shifts, rounded, halves):
    """Eight-bit ``rounded`` of each lane and the super-blocks' factor as binary16; ``values`` become what these say."""
    greatest, scale = bits(splat(0.0, TOGETHER)), splat(0.0, TOGETHER)
    for j in range(16):
        v = load(values, j * TOGETHER, TOGETHER)
        magnitude = select(v == v, bits(size(v)), 0)  # ordered like the floats they are; NaN counts for nothing
        greatest, scale = most(magnitude, greatest), select(magnitude > greatest, v, scale)
    nothing = floats(greatest) < LEAST
    inverse = -128.0 / scale
    half = to_half(select(nothing, 0.0, 1.0 / inverse))
    store(halves, 0, half)
    v = least(to_nearest(repeated(inverse, 16) * load(values, 0, LANES)), 127)
    v = ((select(repeated(nothing, 16), 0, v) & 0xFF) ^ 0x80) - 0x80  # ggml keeps the low byte, signed
    store(rounded, 0, v)
    store(values, 0, repeated(from_half(half), 16) * to_float(v))
    if any_lane(nothing):  # ggml clears such a super-block, whose levels are then -32
        for j in range(16):
            store(inverses, j * TOGETHER, select(nothing, 0.0, load(inverses, j * TOGETHER, TOGETHER)))
            store(shifts, j * TOGETHER, select(nothing, splat(-32.0, TOGETHER), load(shifts, j * TOGETHER, TOGETHER)))


@inline
def _write(x, block, s, scales, inverses, shifts, rounded, halves, out):
    target = at(out, block * 210)
    for upper in range(2):
        for side in range(2):
            start, k, to = block * 256 + 128 * upper + 16 * side, 8 * upper + side, 64 * upper + 16 * side
            q0 = _levels(x, start, k * TOGETHER + s, scales, inverses, shifts)
            q1 = _levels(x, start + 32, (k + 2) * TOGETHER + s, scales, inverses, shifts)
            q2 = _levels(x, start + 64, (k + 4) * TOGETHER + s, scales, inverses, shifts)
            q3 = _levels(x, start + 96, (k + 6) * TOGETHER + s, scales, inverses, shifts)
            store(target, to, narrow(q0 & 15 | q2 << 4))
            store(target, to + 32, narrow(q1 & 15 | q3 << 4))
            above = q0 >> 4 & 3 | q1 >> 2 & 12 | q2 & 48 | q3 << 2 & 192
            store(target, 128 + 32 * upper + 16 * side, narrow(above ^ 0xAA))
    for j in range(16):
        target[_SCALES + j] = rounded[j * TOGETHER + s]
    put_half(target, _D, halves[s])


@inline
def _levels(x, start, k, scales, inverses, shifts):
    """Levels of the 16 weights of lane ``k``: by the rounded scale, or the search's own where that is 0."""
    v = as_float(load(x, start, 16))
    v = v / scales[k] if scales[k] != 0.0 else v * inverses[k] + shifts[k]
    return most(least(to_nearest(v), 31), -32)


def encode_rows(
    rows: NDArray[Any], importance: NDArray[np.float32] | None, out: NDArray[np.uint8], search: str
) -> bool:
    """As ``qconv.blocks`` asks of a block type."""
    return bool(_encode(flat(rows), importance, out.reshape(-1)))


def decode_rows(blocks: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """As ``qconv.blocks`` asks of a block type."""
    _decode(blocks.reshape(-1), blocks.reshape(-1).view(np.uint16), out.reshape(-1))


@kernel
def _decode(blocks, halves, out):
    scales = scratch(16, f32)
    for i in range(blocks.size // 210):
        begin = i * 210
        store(scales, 0, to_float(signed(load(blocks, begin + 192, 16))) * half(halves, begin // 2 + 104))
        for j in range(8):  # 32 weights, two sub-blocks
            low = load(blocks, begin + 64 * (j >> 2) + 32 * (j & 1), 32)
            high = load(blocks, begin + 128 + 32 * (j >> 2), 32) >> 2 * (j & 3) & 3
            level = to_float(widen((low >> 4 if j & 2 else low & 15) | high << 4) - 32)
            store(out, i * 256 + 32 * j, level * repeat(load(scales, 2 * j, 2), 16))
