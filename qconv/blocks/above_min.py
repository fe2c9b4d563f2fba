"""Encoders of Q4_1 and Q5_1: ``x = d * level + minimum``."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

import numpy as np

from qconv.blocks.lanes import (
    LANES,
    any_lane,
    as_float,
    bits,
    f32,
    inline,
    lane,
    least,
    load,
    most,
    narrow,
    scratch,
    select,
    size,
    splat,
    store,
    to_half,
    to_int,
    u8,
    u16,
)
from qconv.blocks.nibbles import (
    AT_ONCE,
    TILE,
    as_bytes,
    gather_weighed,
    pack,
    sixteen,
    write_levels,
)
from qconv.blocks.search_important import level_between, search_important
from qconv.blocks.tiles import INFINITY, LARGEST


@inline
def encode(rows, out, top, block_bytes):
    """As ggml's ``quantize_row_q4_1_ref``; False when a weight is not finite."""
    lowest, inverses, shifts = scratch(16, f32), scratch(16, f32), scratch(16, f32)
    halves, mins = scratch(16, u16), scratch(16, u16)
    for start in range(0, rows.size, AT_ONCE):
        largest = bits(splat(0.0, 16))
        for i in range(start, start + AT_ONCE, 16):
            largest = most(bits(size(as_float(load(rows, i, 16)))), largest)
        if any_lane(largest >= INFINITY):
            return False
        low, high = sixteen(least, _lesser, rows, start), sixteen(most, _greater, rows, start)
        store(lowest, 0, low)
        if any_lane(low == 0.0):
            for b in range(16):
                if lowest[b] == 0.0:
                    lowest[b] = _first_zero(rows, start + 32 * b)
        low = load(lowest, 0, 16)
        d = select(high == low, 0.0, high - low) / np.float32(top)
        inverse = select(d != 0.0, 1.0 / d, 0.0)
        # the reference converts infinities and NaN to level 0
        wild = (size(inverse) > LARGEST) | (d > LARGEST)
        store(inverses, 0, select(wild, 0.0, inverse))
        store(shifts, 0, select(wild, 0.0, low))
        store(halves, 0, to_half(d))
        store(mins, 0, to_half(low))
        for b in range(16):
            at = (start // 32 + b) * block_bytes
            level = to_int((as_float(load(rows, start + 32 * b, 32)) - shifts[b]) * inverses[b] + 0.5)
            store(out, at, load(as_bytes(halves), 2 * b, 2))
            store(out, at + 2, load(as_bytes(mins), 2 * b, 2))
            pack(out, at + 4, level, top > 15)
    return True


@inline
def _lesser(rows, i):
    return least(as_float(load(rows, i, 16)), as_float(load(rows, i + 16, 16)))


@inline
def _greater(rows, i):
    return most(as_float(load(rows, i, 16)), as_float(load(rows, i + 16, 16)))


@inline
def _first_zero(rows, start):
    """The first zero among 32 weights, whose sign the reference keeps."""
    for i in range(32):
        v = lane(as_float(load(rows, start + i, 1)), 0)
        if v == 0.0:
            return v
    return np.float32(0.0)


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
