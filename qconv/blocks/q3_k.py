"""Q3_K: super-blocks of 16 sub-blocks of 16 weights, signed 6-bit scales and 3-bit quants from -4 to 3."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks import lanes
from qconv.blocks.compile import kernel
from qconv.blocks.groups import INDEX, GroupCodec, find_sub_blocks
from qconv.blocks.lanes import (
    LANES,
    any_lane,
    at,
    bits,
    f32,
    floats,
    from_half,
    inline,
    join,
    load,
    narrow,
    repeat_each,
    scratch,
    select,
    splat,
    store,
    to_float,
    to_half,
    to_int,
    u8,
    u16,
    widen,
)
from qconv.blocks.layout import offsets
from qconv.blocks.search.moves import best_quants, search_batch
from qconv.blocks.search.scale import quantize, search_scale
from qconv.blocks.subblocks16 import BATCH, COUNT, TILE, collect, low_bits, weigh_by_super_block
from qconv.blocks.tiles import EPSILON, finite, gather, larger, put_uint16, scatter_bytes, to_nearest, without_nan
from qconv.blocks.unpack import half

_FIELDS = offsets("Q3_K")


@inline
def _super_scale(scales, halves):
    """Each super-block's scale, which makes the largest of its sub-blocks' -32, and their 6-bit scales.

    ``scales``: a tile of sub-blocks' scales, in which the integers are left.
    """
    largest, extreme = bits(splat(0.0, LANES)), splat(0.0, LANES)
    for part in range(16):
        largest, extreme = larger(without_nan(load(scales, part * LANES, LANES)), largest, extreme)
    some = extreme != 0.0
    inverse = select(some, -32.0 / extreme, 0.0)
    for part in range(16):
        q = to_nearest(inverse * load(scales, part * LANES, LANES))
        q = ((q & 0xFF) ^ 0x80) - 0x80  # ggml keeps one byte of it
        store(scales, part * LANES, to_float(select(some, lanes.min(lanes.max(q, -32), 31), -32)))
    store(halves, 0, to_half(select(some, 1.0 / inverse, 0.0)))


@inline
def _search_super_scale(scales, sums, halves):
    """The same by a search, a sub-block's scale counting as much as its weights."""
    d, inverse, largest = search_scale(scales, sums, False, 16, 32, True)
    for part in range(16):
        q = quantize(load(scales, part * LANES, LANES) * inverse, 32, True)
        store(scales, part * LANES, select(floats(largest) < EPSILON, -32.0, q))
    store(halves, 0, to_half(d))


@inline
def _quants_of_moves(x, importance, column, quants):
    """The quants the search without importance ended with."""
    best_quants(x, quants)


@inline
def _quants_of_search(x, importance, column, quants):
    """The same with importance, that of the first sub-block beginning in ``column``."""
    _, inverse, largest = _search_weighted(x, importance, column)[0]
    for i in range(16):
        q = quantize(load(x, i * LANES, LANES) * inverse, 4, False)
        store(quants, i * LANES, select(floats(largest) < EPSILON, -4.0, q))


@inline
def _search_weighted(x, importance, column):
    """What ``search_scale`` finds with importance, and the sums of the error weights."""
    starts, w = scratch(LANES, INDEX), scratch(TILE, f32)
    find_sub_blocks(starts, column, importance.size, 16, 16)
    gather(importance, starts, 16, w)
    sums = weigh_by_super_block(x, w, 2.0)
    return search_scale(x, w, False, 16, 4, False), sums


@inline
def _finish(rows, importance, first, start, groups, scales, halves, out, quants_of):
    """Quantizes a batch with the scales as stored, and writes it; ``quants_of`` searches for a group's own quants."""
    starts, x, own = scratch(LANES, INDEX), scratch(TILE, f32), scratch(TILE, f32)
    quants, packed, lane_scale = scratch(TILE, u8), scratch(TILE, u8), scratch(LANES, f32)
    for g in range(groups):
        begin = start + g * TILE
        find_sub_blocks(starts, begin, rows.size, 16, 16)
        gather(rows, starts, 16, x)
        d = from_half(load(halves, g * COUNT, COUNT))
        for part in range(16):
            store(lane_scale, part * COUNT, d * load(scales, part * LANES + g * COUNT, COUNT))
        scale = load(lane_scale, 0, LANES)
        for i in range(16):
            q = lanes.max(lanes.min(to_nearest(load(x, i * LANES, LANES) / scale), 3), -4)
            store(quants, i * LANES, narrow(q + 4))
        if any_lane(scale == 0.0):
            # such a sub-block keeps the quants of the search, which were not kept
            quants_of(x, importance, first + begin, own)
            for i in range(16):
                q = to_int(load(own, i * LANES, LANES)) + 4
                kept = select(scale == 0.0, q, widen(load(quants, i * LANES, LANES)))
                store(quants, i * LANES, narrow(kept))
        scatter_bytes(quants, packed, 0, 16)
        for number in range(COUNT):
            lane = g * COUNT + number
            _write(at(out, (start // 256 + lane) * _FIELDS.end), number, lane, halves, scales, packed)


@kernel("Q3_K")
def _encode(rows, importance, first, out):
    products, squares = scratch(TILE, f32), scratch(TILE, f32)
    scales, halves = scratch(TILE, f32), scratch(LANES, u16)
    for start in range(0, rows.size, BATCH):
        groups = min(16, (rows.size - start) // TILE)
        if not search_batch(rows, start, groups * LANES, products, squares):
            return False
        for g in range(groups):
            p, s = load(products, g * LANES, LANES), load(squares, g * LANES, LANES)
            collect(select(s > 0.0, p / s, 0.0), scales, g)
        _super_scale(scales, halves)
        _finish(rows, None, first, start, groups, scales, halves, out, _quants_of_moves)
    return True


@kernel("Q3_K")
def _encode_important(rows, importance, first, out):
    starts, x = scratch(LANES, INDEX), scratch(TILE, f32)
    scales, sums, halves = scratch(TILE, f32), scratch(TILE, f32), scratch(LANES, u16)
    for start in range(0, rows.size, BATCH):
        groups = min(16, (rows.size - start) // TILE)
        for g in range(groups):
            begin = start + g * TILE
            find_sub_blocks(starts, begin, rows.size, 16, 16)
            gather(rows, starts, 16, x)
            (scale, _, largest), weighted = _search_weighted(x, importance, first + begin)
            if not finite(largest):
                return False
            collect(weighted, sums, g)
            collect(scale, scales, g)
        _search_super_scale(scales, sums, halves)
        _finish(rows, importance, first, start, groups, scales, halves, out, _quants_of_search)
    return True


@inline
def _write(block, number, lane, halves, scales, packed):
    """Super-block ``number`` of a group, ``lane`` of a batch, as bytes."""
    for side in range(2):
        fours = low_bits(packed, number, 0, side) & 0
        for k in range(8):
            four = load(packed, ((2 * k + side) * COUNT + number) * 16, 16) >> 2 & 1
            fours = fours | four << k
        store(block, _FIELDS.hmask + 16 * side, fours)
        store(block, _FIELDS.qs + 16 * side, low_bits(packed, number, 0, side))
        store(block, _FIELDS.qs + 32 + 16 * side, low_bits(packed, number, 1, side))
    for j in range(4):
        a = np.int32(scales[j * LANES + lane]) + 32
        b = np.int32(scales[(j + 4) * LANES + lane]) + 32
        c = np.int32(scales[(j + 8) * LANES + lane]) + 32
        d = np.int32(scales[(j + 12) * LANES + lane]) + 32
        block[_FIELDS.scales + j] = a & 15 | (c & 15) << 4
        block[_FIELDS.scales + 4 + j] = b & 15 | (d & 15) << 4
        block[_FIELDS.scales + 8 + j] = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6
    put_uint16(block, _FIELDS.d, halves[lane])


@kernel("Q3_K")
def _decode(blocks, out):
    scales = scratch(16, f32)
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        low, high = load(block, _FIELDS.scales, 8), load(block, _FIELDS.scales + 8, 4)
        high = join(join(high & 3, high >> 2 & 3), join(high >> 4 & 3, high >> 6))
        scale = to_float(widen(join(low & 15, low >> 4) | high << 4) - 32)
        store(scales, 0, scale * half(block, _FIELDS.d))
        fours = load(block, _FIELDS.hmask, 32)
        for j in range(8):
            q = load(block, _FIELDS.qs + 32 * (j >> 2), 32) >> 2 * (j & 3) & 3
            q = to_float(widen(q | (fours >> j & 1) << 2) - 4)
            store(out, i * 256 + 32 * j, q * repeat_each(load(scales, 2 * j, 2), 16))


CODEC = GroupCodec("Q3_K", TILE, _encode, _encode_important, _decode)
