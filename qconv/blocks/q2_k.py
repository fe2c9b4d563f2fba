"""Q2_K: super-blocks of 16 sub-blocks of 16 weights, 4-bit scales and mins and 2-bit quants."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.compile import kernel
from qconv.blocks.groups import PLACE, encode_groups, find
from qconv.blocks.lanes import (
    LANES,
    any_lane,
    at,
    bits,
    f32,
    from_half,
    i32,
    inline,
    least,
    load,
    most,
    narrow,
    repeat,
    scratch,
    select,
    size,
    splat,
    store,
    to_float,
    to_half,
    to_int,
    u8,
    u16,
    widen,
)
from qconv.blocks.search_important import level_between, search_important
from qconv.blocks.search_positive import positive_search
from qconv.blocks.search_scale_min import search_scale_min
from qconv.blocks.sixteenths import BATCH, COUNT, TILE, collect, low_bits, weigh
from qconv.blocks.tiles import INFINITY, gather, nearest, put_half, to_nearest, turn_back
from qconv.blocks.unpack import half

_BYTES = 84
_search_positive = positive_search(LANES)


def encode_rows(
    rows: NDArray[Any], importance: NDArray[np.float32] | None, out: NDArray[np.uint8], search: str
) -> bool:
    """See ``qconv.blocks``."""
    return encode_groups(_encode, rows, importance, out, TILE)


def decode_rows(blocks: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """See ``qconv.blocks``."""
    _decode(blocks.reshape(-1), blocks.reshape(-1).view(np.uint16), out.reshape(-1))


@inline
def _weigh_by_size(x, weights):
    """Without importance a weight's error counts as much as the weight; False where one is not finite."""
    largest = bits(splat(0.0, LANES))
    for i in range(16):
        magnitude = size(load(x, i * LANES, LANES))
        store(weights, i * LANES, magnitude)
        largest = most(bits(magnitude), largest)
    return not any_lane(largest >= INFINITY)


@inline
def _finite(x):
    largest = bits(splat(0.0, LANES))
    for i in range(16):
        largest = most(bits(size(load(x, i * LANES, LANES))), largest)
    return not any_lane(largest >= INFINITY)


@inline
def _round(values, levels, halves):
    """4-bit ``levels`` of a tile of positive ``values``, the greatest of each super-block's 15."""
    greatest = splat(0.0, LANES)
    for part in range(16):
        greatest = most(load(values, part * LANES, LANES), greatest)
    some = greatest > 0.0
    inverse = 15.0 / greatest
    for part in range(16):
        level = nearest(inverse * load(values, part * LANES, LANES), True)
        store(levels, part * LANES, select(some, level, 0.0))
    store(halves, 0, to_half(greatest / 15.0))


@kernel
def _encode(rows, importance, first, out):
    places, x, weights, levels = scratch(LANES, PLACE), scratch(TILE, f32), scratch(TILE, f32), scratch(TILE, f32)
    scales, mins, sums = scratch(TILE, f32), scratch(TILE, f32), scratch(TILE, f32)
    inverses, lows = scratch(TILE, f32), scratch(TILE, f32)
    scale_levels, min_levels, both = scratch(TILE, f32), scratch(TILE, f32), scratch(TILE, i32)
    d, dmin = scratch(LANES, u16), scratch(LANES, u16)
    for start in range(0, rows.size, BATCH):
        groups = min(16, (rows.size - start) // TILE)
        for g in range(groups):
            begin = start + g * TILE
            find(places, begin, rows.size, 16, 16)
            gather(rows, places, 16, x)
            if importance is None:
                if not _weigh_by_size(x, weights):
                    return False
                found = search_scale_min(x, weights, levels, 16, 3, -0.5, 0.1, 16, True, True)[:4]
            else:
                if not _finite(x):
                    return False
                find(places, first + begin, importance.size, 16, 16)
                gather(importance, places, 16, weights)
                collect(weigh(x, weights, 1.0), sums, g)
                found = search_important(x, weights, levels, 16, 3)[:4]
            collect(found[0], scales, g)
            collect(-found[1], mins, g)
            store(inverses, g * LANES, found[2])
            store(lows, g * LANES, found[3])
        if importance is None:
            _round(scales, scale_levels, d)
            _round(mins, min_levels, dmin)
        else:
            store(d, 0, to_half(_search_positive(scales, sums, scale_levels, 16, 15)))
            store(dmin, 0, to_half(_search_positive(mins, sums, min_levels, 16, 15)))
        for part in range(16):
            # in a byte, where a level outside 4 bits spills over
            scale, minimum = load(scale_levels, part * LANES, LANES), load(min_levels, part * LANES, LANES)
            store(both, part * LANES, (to_int(scale) | to_int(minimum) << 4) & 0xFF)
        for g in range(groups):
            find(places, start + g * TILE, rows.size, 16, 16)
            gather(rows, places, 16, x)
            inverse, low = load(inverses, g * LANES, LANES), load(lows, g * LANES, LANES)
            _finish(x, importance, inverse, low, start // 256, g, d, dmin, both, out)
    return True


@inline
def _finish(x, importance, inverse, low, first_block, g, d, dmin, both, out):
    """Quantizes a group with the scales as stored, the search's where one is 0, and writes it."""
    scales, mins = scratch(LANES, f32), scratch(LANES, f32)
    packed, quants = scratch(TILE, u8), scratch(TILE, u8)
    super_scale, super_min = from_half(load(d, g * COUNT, COUNT)), from_half(load(dmin, g * COUNT, COUNT))
    for part in range(16):
        level = load(both, part * LANES + g * COUNT, COUNT)
        store(scales, part * COUNT, super_scale * to_float(level & 15))
        store(mins, part * COUNT, super_min * to_float(level >> 4))
    scale, minimum = load(scales, 0, LANES), load(mins, 0, LANES)
    for i in range(16):
        v = load(x, i * LANES, LANES)
        kept = inverse * (v - low)
        if importance is not None:
            kept = level_between(kept, 3)
        value = select(scale != 0.0, (v + minimum) / scale, kept)
        store(packed, i * LANES, narrow(least(most(to_nearest(value), 0), 3)))
    turn_back(packed, quants, 0, 16)
    for number in range(COUNT):
        lane = g * COUNT + number
        block = at(out, (first_block + lane) * _BYTES)
        for part in range(16):
            block[part] = both[part * LANES + lane]
        for n in range(2):
            store(block, 16 + 32 * n, low_bits(quants, number, n, 0))
            store(block, 32 + 32 * n, low_bits(quants, number, n, 1))
        put_half(block, 80, d[lane])
        put_half(block, 82, dmin[lane])


@kernel
def _decode(blocks, halves, out):
    scales, mins = scratch(16, f32), scratch(16, f32)
    for i in range(blocks.size // _BYTES):
        begin = i * _BYTES
        both = load(blocks, begin, 16)
        store(scales, 0, to_float(widen(both & 15)) * half(halves, begin // 2 + 40))
        store(mins, 0, to_float(widen(both >> 4)) * half(halves, begin // 2 + 41))
        for j in range(8):
            level = to_float(widen(load(blocks, begin + 16 + 32 * (j >> 2), 32) >> 2 * (j & 3) & 3))
            scale, minimum = repeat(load(scales, 2 * j, 2), 16), repeat(load(mins, 2 * j, 2), 16)
            store(out, i * 256 + 32 * j, level * scale - minimum)
