"""Q2_K: super-blocks of 16 sub-blocks of 16 weights, 4-bit scales and mins and 2-bit quants."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from qconv.blocks import lanes
from qconv.blocks.compile import kernel
from qconv.blocks.groups import INDEX, GroupCodec, find_sub_blocks
from qconv.blocks.lanes import (
    LANES,
    at,
    bits,
    f32,
    from_half,
    i32,
    inline,
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
from qconv.blocks.search.positive import positive_search
from qconv.blocks.search.scale_min import quantize, search_scale_min, search_weighted
from qconv.blocks.subblocks16 import BATCH, COUNT, TILE, collect, low_bits, weigh_by_super_block
from qconv.blocks.tiles import finite, gather, largest_magnitude, nearest, put_uint16, scatter_bytes, to_nearest
from qconv.blocks.unpack import half

_FIELDS = offsets("Q2_K")
_search_positive = positive_search(LANES)


@inline
def _weigh_by_magnitude(x, w):
    """Without importance a weight's error counts as much as the weight; False where one is not finite."""
    largest = bits(splat(0.0, LANES))
    for i in range(16):
        magnitude = lanes.abs(load(x, i * LANES, LANES))
        store(w, i * LANES, magnitude)
        largest = lanes.max(bits(magnitude), largest)
    return finite(largest)


@inline
def _round(values, rounded, halves):
    """4-bit ``rounded`` of a tile of positive ``values``, the greatest of each super-block's 15."""
    greatest = splat(0.0, LANES)
    for part in range(16):
        greatest = lanes.max(load(values, part * LANES, LANES), greatest)
    some = greatest > 0.0
    inverse = 15.0 / greatest
    for part in range(16):
        q = nearest(inverse * load(values, part * LANES, LANES), True)
        store(rounded, part * LANES, select(some, q, 0.0))
    store(halves, 0, to_half(greatest / 15.0))


@kernel("Q2_K")
def _encode(rows, importance, first, out):
    starts, x, w, quants = scratch(LANES, INDEX), scratch(TILE, f32), scratch(TILE, f32), scratch(TILE, f32)
    scales, mins, sums = scratch(TILE, f32), scratch(TILE, f32), scratch(TILE, f32)
    inverses, lows = scratch(TILE, f32), scratch(TILE, f32)
    rounded_scales, rounded_mins, both = scratch(TILE, f32), scratch(TILE, f32), scratch(TILE, i32)
    d, dmin = scratch(LANES, u16), scratch(LANES, u16)
    for start in range(0, rows.size, BATCH):
        groups = min(16, (rows.size - start) // TILE)
        for g in range(groups):
            begin = start + g * TILE
            find_sub_blocks(starts, begin, rows.size, 16, 16)
            gather(rows, starts, 16, x)
            if importance is None:
                if not _weigh_by_magnitude(x, w):
                    return False
                best = search_scale_min(x, w, quants, 16, 3, -0.5, 0.1, 15, True, True)[:4]
            else:
                if not finite(largest_magnitude(x, 16)):
                    return False
                find_sub_blocks(starts, first + begin, importance.size, 16, 16)
                gather(importance, starts, 16, w)
                collect(weigh_by_super_block(x, w, 1.0), sums, g)
                best = search_weighted(x, w, quants, 16, 3)
            collect(best[0], scales, g)
            collect(-best[1], mins, g)
            store(inverses, g * LANES, best[2])
            store(lows, g * LANES, best[3])
        if importance is None:
            _round(scales, rounded_scales, d)
            _round(mins, rounded_mins, dmin)
        else:
            store(d, 0, to_half(_search_positive(scales, sums, rounded_scales, 16, 15)))
            store(dmin, 0, to_half(_search_positive(mins, sums, rounded_mins, 16, 15)))
        for part in range(16):
            # in a byte, where what is outside 4 bits spills over
            scale, minimum = load(rounded_scales, part * LANES, LANES), load(rounded_mins, part * LANES, LANES)
            store(both, part * LANES, (to_int(scale) | to_int(minimum) << 4) & 0xFF)
        for g in range(groups):
            find_sub_blocks(starts, start + g * TILE, rows.size, 16, 16)
            gather(rows, starts, 16, x)
            inverse, low = load(inverses, g * LANES, LANES), load(lows, g * LANES, LANES)
            _finish(x, importance, inverse, low, start // 256, g, d, dmin, both, out)
    return True


@inline
def _finish(x, importance, inverse, low, first_block, g, d, dmin, both, out):
    """Quantizes a group with the scales as stored, the search's where one is 0, and writes it."""
    scales, mins = scratch(LANES, f32), scratch(LANES, f32)
    quants, packed = scratch(TILE, u8), scratch(TILE, u8)
    super_scale, super_min = from_half(load(d, g * COUNT, COUNT)), from_half(load(dmin, g * COUNT, COUNT))
    for part in range(16):
        rounded = load(both, part * LANES + g * COUNT, COUNT)
        store(scales, part * COUNT, super_scale * to_float(rounded & 15))
        store(mins, part * COUNT, super_min * to_float(rounded >> 4))
    scale, minimum = load(scales, 0, LANES), load(mins, 0, LANES)
    for i in range(16):
        v = load(x, i * LANES, LANES)
        kept = inverse * (v - low)
        if importance is not None:
            kept = quantize(kept, 3)
        value = select(scale != 0.0, (v + minimum) / scale, kept)
        store(quants, i * LANES, narrow(lanes.min(lanes.max(to_nearest(value), 0), 3)))
    scatter_bytes(quants, packed, 0, 16)
    for number in range(COUNT):
        lane = g * COUNT + number
        block = at(out, (first_block + lane) * _FIELDS.end)
        for part in range(16):
            block[_FIELDS.scales + part] = both[part * LANES + lane]
        for n in range(2):
            store(block, _FIELDS.qs + 32 * n, low_bits(packed, number, n, 0))
            store(block, _FIELDS.qs + 32 * n + 16, low_bits(packed, number, n, 1))
        put_uint16(block, _FIELDS.d, d[lane])
        put_uint16(block, _FIELDS.dmin, dmin[lane])


@kernel("Q2_K")
def _decode(blocks, out):
    scales, mins = scratch(16, f32), scratch(16, f32)
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        both = load(block, _FIELDS.scales, 16)
        store(scales, 0, to_float(widen(both & 15)) * half(block, _FIELDS.d))
        store(mins, 0, to_float(widen(both >> 4)) * half(block, _FIELDS.dmin))
        for j in range(8):
            q = to_float(widen(load(block, _FIELDS.qs + 32 * (j >> 2), 32) >> 2 * (j & 3) & 3))
            scale, minimum = repeat_each(load(scales, 2 * j, 2), 16), repeat_each(load(mins, 2 * j, 2), 16)
            store(out, i * 256 + 32 * j, q * scale - minimum)


CODEC = GroupCodec("Q2_K", TILE, _encode, _encode, _decode)
