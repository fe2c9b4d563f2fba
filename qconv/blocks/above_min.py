"""Encoders of Q4_1 and Q5_1: ``x = d * level + minimum``."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

import numpy as np

from qconv.blocks.by_extremes import FACTORS, encode_by_extremes
from qconv.blocks.lanes import (
    LANES,
    any_lane,
    as_float,
    f32,
    floats,
    inline,
    lane,
    load,
    narrow,
    scratch,
    select,
    size,
    store,
    to_half,
    to_int,
    u8,
    u16,
)
from qconv.blocks.nibbles import (
    TILE,
    gather_weighed,
    pack,
    write_levels,
)
from qconv.blocks.search_important import level_between, search_important
from qconv.blocks.tiles import INFINITY, LARGEST, SIGN, put_half


@inline
def encode(rows, out, top, block_bytes):
    """As ggml's ``quantize_row_q4_1_ref``; False when a weight is not finite."""
    factors = scratch(FACTORS, f32), scratch(FACTORS, f32), scratch(FACTORS, u16), scratch(FACTORS, u16)
    return encode_by_extremes(rows, out, top, block_bytes, _fit, _write, factors)


@inline
def _fit(x, start, greatest, unsigned, top, place, factors):
    inverses, shifts, halves, mins = factors
    if any_lane((greatest >= INFINITY) | ((unsigned & 0x7FFFFFFF) >= INFINITY)):
        return False
    low, high = floats(unsigned), floats(greatest)
    if any_lane((greatest <= 0) | (unsigned >= 0) | (unsigned == SIGN)):
        lowest, highest = scratch(16, f32), scratch(16, f32)
        for k in range(16):
            lowest[k], highest[k] = _range(x, start + 32 * k)
        low, high = load(lowest, 0, 16), load(highest, 0, 16)
    d = select(high == low, 0.0, high - low) / np.float32(top)
    inverse = select(d != 0.0, 1.0 / d, 0.0)
    wild = (size(inverse) > LARGEST) | (d > LARGEST)  # the reference converts infinities and NaN to level 0
    store(inverses, place, select(wild, 0.0, inverse))
    store(shifts, place, select(wild, 0.0, low))
    store(halves, place, to_half(d))
    store(mins, place, to_half(low))
    return True


@inline
def _write(x, start, out, begin, top, place, factors):
    inverses, shifts, halves, mins = factors
    level = to_int((as_float(load(x, start, 32)) - shifts[place]) * inverses[place] + 0.5)
    put_half(out, begin, halves[place])
    put_half(out, begin + 2, mins[place])
    pack(out, begin + 4, level, top > 15)


@inline
def _range(rows, start):
    """The least and the greatest of 32 weights; of zeros of both signs the first."""
    low, high = LARGEST, -LARGEST
    for i in range(32):
        v = lane(as_float(load(rows, start + i, 1)), 0)
        low, high = v if v < low else low, v if v > high else high
    return low, high


@inline
def encode_important(rows, importance, means, out, top, block_bytes):
    """As ggml's ``quantize_row_q4_1_impl``; ``means``: mean square of each row."""
    x, weights, work, levels = scratch(TILE, f32), scratch(TILE, f32), scratch(TILE, f32), scratch(TILE, u8)
    count = rows.size // 32
    for block in range(0, count, LANES):
        if not gather_weighed(rows, importance, means, block, x, weights):
            return False
        found = search_important(x, weights, work, 32, top)
        for i in range(32):
            level = level_between(found[2] * (load(x, i * LANES, LANES) - found[3]), top)
            store(levels, i * LANES, narrow(to_int(level)))
        scale, minimum = to_half(found[0]), to_half(found[1])
        write_levels(levels, out, block, min(LANES, count - block), block_bytes, scale, minimum)
    return True
