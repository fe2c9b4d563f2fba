"""IQ4_XS: super-blocks of 8 sub-blocks of 32 weights, 6-bit scales and the 4-bit quants of IQ4_NL."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks import lanes
from qconv.blocks.compile import kernel
from qconv.blocks.groups import INDEX, GroupCodec, find_sub_blocks, squares_of_super_blocks
from qconv.blocks.lanes import (
    LANES,
    at,
    bits,
    f32,
    i32,
    inline,
    load,
    repeat_all,
    repeat_each,
    scratch,
    select,
    splat,
    store,
    to_float,
    to_half,
    u8,
    u16,
    widen,
    words,
)
from qconv.blocks.layout import offsets
from qconv.blocks.nonlinear import dequantize, pack, search, weigh_by_square
from qconv.blocks.tiles import finite, gather, larger, put_uint16, scatter_bytes, to_nearest, weigh, without_nan
from qconv.blocks.unpack import half

_FIELDS = offsets("IQ4_XS")
_COUNT = LANES // 8
"""Super-blocks in a group."""
_TILE = 32 * LANES
_HALF_TILE = 16 * LANES
_NIBBLES = np.array([0, 4] * 4, np.uint8)
_PAIRS = np.arange(0, 16, 2, dtype=np.int32)
_sum_of_squares = squares_of_super_blocks(8)


@inline
def _super_scale(scales):
    """Each super-block's scale, which makes the largest of its sub-blocks' -32."""
    largest, extreme = bits(splat(0.0, _COUNT)), splat(0.0, _COUNT)
    for part in range(8):
        largest, extreme = larger(without_nan(load(scales, part * _COUNT, _COUNT)), largest, extreme)
    return -extreme / 32.0


@kernel("IQ4_XS")
def _encode(rows, importance, first, out):
    starts = scratch(LANES, INDEX)
    x, w, scales = scratch(_TILE, f32), scratch(_TILE, f32), scratch(LANES, f32)
    rounded, halves = scratch(LANES, i32), scratch(_COUNT, u16)
    packed, quants = scratch(_HALF_TILE, u8), scratch(_HALF_TILE, u8)
    for start in range(0, rows.size, _TILE):
        find_sub_blocks(starts, start, rows.size, 8, 32)
        gather(rows, starts, 32, x)
        if importance is None:
            weigh_by_square(x, w)
        else:
            find_sub_blocks(starts, first + start, importance.size, 8, 32)
            gather(importance, starts, 32, w)
            weigh(x, w, 32, repeat_all(_sum_of_squares(x) * (2 / 256), 8))
        scale, largest = search(x, w)
        if not finite(largest):
            return False
        store(scales, 0, scale)
        super_scale = _super_scale(scales)
        d = repeat_all(super_scale, 8)
        q = lanes.min(lanes.max(to_nearest(select(d != 0.0, 1.0 / d, 0.0) * scale), -32), 31)
        scale = d * to_float(q)
        pack(x, select(scale != 0.0, 1.0 / scale, 0.0), packed)
        scatter_bytes(packed, quants, 0, 16)
        store(rounded, 0, q + 32)
        store(halves, 0, to_half(super_scale))
        for number in range(_COUNT):
            _write(at(out, (start // 256 + number) * _FIELDS.end), number, halves, rounded, quants)
    return True


@inline
def _write(block, number, halves, scales, quants):
    """Super-block ``number`` of the group as bytes."""
    put_uint16(block, _FIELDS.d, halves[number])
    high = 0
    for part in range(0, 8, 2):
        even, odd = scales[part * _COUNT + number], scales[(part + 1) * _COUNT + number]
        high |= (even >> 4 | odd >> 4 << 2) << 2 * part
        block[_FIELDS.scales_l + part // 2] = even & 15 | (odd & 15) << 4
    put_uint16(block, _FIELDS.scales_h, high)
    for part in range(8):
        store(block, _FIELDS.qs + 16 * part, load(quants, (part * _COUNT + number) * 16, 16))


@kernel("IQ4_XS")
def _decode(blocks, out):
    scales = scratch(8, f32)
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        low = repeat_each(load(block, _FIELDS.scales_l, 4), 2) >> load(_NIBBLES, 0, 8) & 15
        high = repeat_each(widen(words(load(block, _FIELDS.scales_h, 2))), 8) >> load(_PAIRS, 0, 8) & 3
        store(scales, 0, to_float((widen(low) | high << 4) - 32) * half(block, _FIELDS.d))
        for part in range(8):
            store(out, i * 256 + 32 * part, dequantize(block, _FIELDS.qs + 16 * part) * scales[part])


CODEC = GroupCodec("IQ4_XS", _TILE, _encode, _encode, _decode)
