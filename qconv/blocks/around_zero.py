"""Encoders of Q4_0 and Q5_0: ``x = d * (level - top)``, where the weight of largest size gets level 0."""

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
    least,
    load,
    most,
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
from qconv.blocks.search_scale import level_of, search_scale
from qconv.blocks.tiles import INFINITY, LARGEST, LEAST, put_half


@inline
def encode(rows, out, top, block_bytes):
    """As ggml's ``quantize_row_q4_0_ref``; False when a weight is not finite."""
    factors = scratch(FACTORS, f32), scratch(FACTORS, f32), scratch(FACTORS, u16)
    return encode_by_extremes(rows, out, top, block_bytes, _fit, _write, factors)


@inline
def _fit(x, start, greatest, unsigned, top, place, factors):
    inverses, offsets, halves = factors
    above, below = most(greatest, 0), select(unsigned < 0, unsigned & 0x7FFFFFFF, 0)
    if any_lane((above >= INFINITY) | (below >= INFINITY)):
        return False
    extreme = select(most(above, below) == 0, 0.0, floats(select(above > below, above, unsigned)))
    if any_lane((above == below) & (above > 0)):
        extremes_ = scratch(16, f32)
        store(extremes_, 0, extreme)
        for k in range(16):
            extremes_[k] = _first_of_size(x, start + 32 * k, extremes_[k])
        extreme = load(extremes_, 0, 16)
    d = extreme / np.float32(-top)
    inverse = select(d != 0.0, 1.0 / d, 0.0)
    wild = size(inverse) > LARGEST  # the reference converts infinities and NaN to level 0
    store(inverses, place, select(wild, 0.0, inverse))
    store(offsets, place, select(wild, 0.0, d * 0.0 + (top + 0.5)))
    store(halves, place, to_half(d))
    return True


@inline
def _write(x, start, out, begin, top, place, factors):
    inverses, offsets, halves = factors
    level = to_int(as_float(load(x, start, 32)) * inverses[place] + offsets[place])
    put_half(out, begin, halves[place])
    pack(out, begin + 2, least(level, 2 * top - 1), top > 8)


@inline
def _first_of_size(rows, start, value):
    """The first of 32 weights that is ``value`` or ``-value``; of zeros, whatever their sign, 0."""
    for i in range(32):
        v = lane(as_float(load(rows, start + i, 1)), 0)
        if (v == value or v == -value) and value != 0.0:
            return v
    return value


@inline
def encode_important(rows, importance, means, out, top, block_bytes):
    """As ggml's ``quantize_row_q4_0_impl``; ``means``: mean square of each row."""
    x, weights, levels = scratch(TILE, f32), scratch(TILE, f32), scratch(TILE, u8)
    count = rows.size // 32
    for block in range(0, count, LANES):
        if not gather_weighed(rows, importance, means, block, x, weights):
            return False
        scale, inverse, largest = search_scale(x, weights, False, 32, top, False)
        for i in range(32):
            level = level_of(load(x, i * LANES, LANES) * inverse, top, False) + np.float32(top)
            store(levels, i * LANES, narrow(to_int(select(floats(largest) < LEAST, 0.0, level))))
        write_levels(levels, out, block, min(LANES, count - block), block_bytes, to_half(scale), None)
    return True
