"""Q4_1 and Q5_1: ``x = d * q + m``."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks import lanes
from qconv.blocks.compile import kernel
from qconv.blocks.lanes import (
    LANES,
    any_lane,
    as_float,
    at,
    f32,
    floats,
    inline,
    lane,
    load,
    narrow,
    scratch,
    select,
    store,
    to_float,
    to_half,
    to_int,
    u8,
    u16,
)
from qconv.blocks.layout import offsets
from qconv.blocks.nibbles import TILE, NibbleCodec, gather_weighted, pack, pack_tile, unpack
from qconv.blocks.round_to_nearest import FACTORS, encode_blocks
from qconv.blocks.search.scale_min import quantize, search_weighted
from qconv.blocks.tiles import FLT_MAX, INFINITY, SIGN, put_uint16
from qconv.blocks.unpack import half


class AsymmetricCodec(NibbleCodec):
    """4-bit quants from 0 to 15, or with fifth bits from 0 to 31."""

    def __init__(self, block_type: str) -> None:
        fields = offsets(block_type, "d", "m", "qh", "qs")
        top = 15 if fields.qh is None else 31

        @inline
        def write(x, start, out, begin, top, slot, factors):
            inverses, shifts, halves, mins = factors
            q = to_int((as_float(load(x, start, 32)) - shifts[slot]) * inverses[slot] + 0.5)
            block = at(out, begin)
            put_uint16(block, fields.d, halves[slot])
            put_uint16(block, fields.m, mins[slot])
            pack(block, q, fields.qs, fields.qh)

        @kernel(block_type)
        def encode(rows, importance, first, out):
            factors = scratch(FACTORS, f32), scratch(FACTORS, f32), scratch(FACTORS, u16), scratch(FACTORS, u16)
            return encode_blocks(rows, out, top, fields.end, _fit, write, factors)

        @kernel(block_type)
        def encode_important(rows, importance, means, out):
            return _encode_important(rows, importance, means, out, top, fields, fields.qh)

        @kernel(block_type)
        def decode(blocks, out):
            for i in range(blocks.size // fields.end):
                block = at(blocks, i * fields.end)
                q = to_float(unpack(block, fields.qs, fields.qh))
                store(out, i * 32, q * half(block, fields.d) + half(block, fields.m))

        super().__init__(block_type, encode, encode_important, decode)


@inline
def _fit(x, start, greatest, unsigned, top, slot, factors):
    """As ggml's ``quantize_row_q4_1_ref``, see ``encode_blocks``."""
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
    wild = (lanes.abs(inverse) > FLT_MAX) | (d > FLT_MAX)  # ggml converts infinities and NaN to quant 0
    store(inverses, slot, select(wild, 0.0, inverse))
    store(shifts, slot, select(wild, 0.0, low))
    store(halves, slot, to_half(d))
    store(mins, slot, to_half(low))
    return True


@inline
def _range(rows, start):
    """The least and the greatest of 32 weights; of zeros of both signs the first."""
    low, high = FLT_MAX, -FLT_MAX
    for i in range(32):
        v = lane(as_float(load(rows, start + i, 1)), 0)
        low, high = v if v < low else low, v if v > high else high
    return low, high


@inline
def _encode_important(rows, importance, means, out, top, fields, qh):
    """As ggml's ``quantize_row_q4_1_impl``; ``means``: mean square of each row."""
    x, w, work, quants = scratch(TILE, f32), scratch(TILE, f32), scratch(TILE, f32), scratch(TILE, u8)
    count = rows.size // 32
    for block in range(0, count, LANES):
        if not gather_weighted(rows, importance, means, block, x, w):
            return False
        scale, minimum, inverse, low = search_weighted(x, w, work, 32, top)
        for i in range(32):
            q = quantize(inverse * (load(x, i * LANES, LANES) - low), top)
            store(quants, i * LANES, narrow(to_int(q)))
        pack_tile(quants, out, block, min(LANES, count - block), fields, qh, to_half(scale), to_half(minimum))
    return True
