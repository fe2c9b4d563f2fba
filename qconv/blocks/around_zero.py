"""Encoders of Q4_0 and Q5_0: ``x = d * (level - top)``, where the weight of largest size gets level 0."""

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
    AT_ONCE,
    TILE,
    as_bytes,
    gather_weighed,
    pack,
    sixteen,
    write_levels,
)
from qconv.blocks.search_scale import extremes, level_of, search_scale
from qconv.blocks.tiles import INFINITY, LARGEST, LEAST

_SIGN = -0x80000000


@inline
def encode(rows, out, top, block_bytes):
    """As ggml's ``quantize_row_q4_0_ref``; False when a weight is not finite."""
    extremes_, inverses, offsets, halves = scratch(16, f32), scratch(16, f32), scratch(16, f32), scratch(16, u16)
    for start in range(0, rows.size, AT_ONCE):
        p, n = sixteen(most, _positive, rows, start), sixteen(most, _negative, rows, start)
        if any_lane((p >= INFINITY) | (n >= INFINITY)):
            return False
        extreme = select(most(p, n) == 0, 0.0, floats(select(p > n, p, n | _SIGN)))
        store(extremes_, 0, extreme)
        if any_lane((p == n) & (p > 0)):
            for b in range(16):
                extremes_[b] = _first_of_size(rows, start + 32 * b, extremes_[b])
        d = load(extremes_, 0, 16) / np.float32(-top)
        inverse = select(d != 0.0, 1.0 / d, 0.0)
        wild = size(inverse) > LARGEST  # the reference converts infinities and NaN to level 0
        store(inverses, 0, select(wild, 0.0, inverse))
        store(offsets, 0, select(wild, 0.0, d * 0.0 + (top + 0.5)))
        store(halves, 0, to_half(d))
        for b in range(16):
            at = (start // 32 + b) * block_bytes
            level = to_int(as_float(load(rows, start + 32 * b, 32)) * inverses[b] + offsets[b])
            store(out, at, load(as_bytes(halves), 2 * b, 2))
            pack(out, at + 2, least(level, 2 * top - 1), top > 8)
    return True


@inline
def _positive(rows, i):
    """The greater of weights ``i + k`` and ``i + 16 + k`` as bits: they compare as numbers do, below 0 for negative."""
    return most(bits(as_float(load(rows, i, 16))), bits(as_float(load(rows, i + 16, 16))))


@inline
def _negative(rows, i):
    """The same of the weights with their signs changed."""
    return most(bits(as_float(load(rows, i, 16))) ^ _SIGN, bits(as_float(load(rows, i + 16, 16))) ^ _SIGN)


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
        largest, extreme = extremes(x, 32, False)
        scale, inverse = search_scale(x, weights, 32, top, largest, extreme, False)
        for i in range(32):
            level = level_of(load(x, i * LANES, LANES) * inverse, top, False) + np.float32(top)
            store(levels, i * LANES, narrow(to_int(select(floats(largest) < LEAST, 0.0, level))))
        write_levels(levels, out, block, min(LANES, count - block), block_bytes, to_half(scale), None)
    return True
