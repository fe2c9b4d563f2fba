"""Q4_0 and Q5_0: ``x = d * (q - top)``, where the weight of largest magnitude gets quant 0."""

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
from qconv.blocks.search.scale import quantize, search_scale
from qconv.blocks.tiles import EPSILON, FLT_MAX, INFINITY, put_uint16
from qconv.blocks.unpack import half


class SymmetricCodec(NibbleCodec):
    """4-bit quants from 0 to 15, or with fifth bits from 0 to 31, around half of their number."""

    def __init__(self, block_type: str) -> None:
        fields = offsets(block_type, "d", "qh", "qs")
        top = 8 if fields.qh is None else 16

        @inline
        def write(x, start, out, begin, top, slot, factors):
            inverses, shifts, halves = factors
            q = to_int(as_float(load(x, start, 32)) * inverses[slot] + shifts[slot])
            block = at(out, begin)
            put_uint16(block, fields.d, halves[slot])
            pack(block, lanes.min(q, 2 * top - 1), fields.qs, fields.qh)

        @kernel(block_type)
        def encode(rows, importance, first, out):
            factors = scratch(FACTORS, f32), scratch(FACTORS, f32), scratch(FACTORS, u16)
            return encode_blocks(rows, out, top, fields.end, _fit, write, factors)

        @kernel(block_type)
        def encode_important(rows, importance, means, out):
            return _encode_important(rows, importance, means, out, top, fields, fields.qh)

        @kernel(block_type)
        def decode(blocks, out):
            for i in range(blocks.size // fields.end):
                block = at(blocks, i * fields.end)
                q = unpack(block, fields.qs, fields.qh)
                store(out, i * 32, to_float(q - top) * half(block, fields.d))

        super().__init__(block_type, encode, encode_important, decode)


@inline
def _fit(x, start, greatest, unsigned, top, slot, factors):
    """As ggml's ``quantize_row_q4_0_ref``, see ``encode_blocks``."""
    inverses, shifts, halves = factors
    above, below = lanes.max(greatest, 0), select(unsigned < 0, unsigned & 0x7FFFFFFF, 0)
    if any_lane((above >= INFINITY) | (below >= INFINITY)):
        return False
    extreme = select(lanes.max(above, below) == 0, 0.0, floats(select(above > below, above, unsigned)))
    if any_lane((above == below) & (above > 0)):
        extremes = scratch(16, f32)
        store(extremes, 0, extreme)
        for k in range(16):
            extremes[k] = _first_of_magnitude(x, start + 32 * k, extremes[k])
        extreme = load(extremes, 0, 16)
    d = extreme / np.float32(-top)
    inverse = select(d != 0.0, 1.0 / d, 0.0)
    wild = lanes.abs(inverse) > FLT_MAX  # ggml converts infinities and NaN to quant 0
    store(inverses, slot, select(wild, 0.0, inverse))
    store(shifts, slot, select(wild, 0.0, d * 0.0 + (top + 0.5)))
    store(halves, slot, to_half(d))
    return True


@inline
def _first_of_magnitude(rows, start, value):
    """The first of 32 weights that is ``value`` or ``-value``; of zeros, whatever their sign, 0."""
    for i in range(32):
        v = lane(as_float(load(rows, start + i, 1)), 0)
        if (v == value or v == -value) and value != 0.0:
            return v
    return value


@inline
def _encode_important(rows, importance, means, out, top, fields, qh):
    """As ggml's ``quantize_row_q4_0_impl``; ``means``: mean square of each row."""
    x, w, quants = scratch(TILE, f32), scratch(TILE, f32), scratch(TILE, u8)
    count = rows.size // 32
    for block in range(0, count, LANES):
        if not gather_weighted(rows, importance, means, block, x, w):
            return False
        scale, inverse, largest = search_scale(x, w, False, 32, top, False)
        for i in range(32):
            q = quantize(load(x, i * LANES, LANES) * inverse, top, False) + np.float32(top)
            store(quants, i * LANES, narrow(to_int(select(floats(largest) < EPSILON, 0.0, q))))
        pack_tile(quants, out, block, min(LANES, count - block), fields, qh, to_half(scale), None)
    return True
