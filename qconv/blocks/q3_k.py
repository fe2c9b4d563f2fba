"""Q3_K: super-blocks of 16 sub-blocks of 16 weights, signed 6-bit scales and 3-bit quants from -4 to 3."""

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
    f32,
    floats,
    from_half,
    inline,
    join,
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
from qconv.blocks.search_moves import best_levels, search_batch
from qconv.blocks.search_scale import level_of, search_scale
from qconv.blocks.sixteenths import BATCH, COUNT, TILE, collect, low_bits, weigh
from qconv.blocks.tiles import INFINITY, LEAST, gather, put_half, to_nearest, turn_back
from qconv.blocks.unpack import half

_BYTES = 110


def encode_rows(
    rows: NDArray[Any], importance: NDArray[np.float32] | None, out: NDArray[np.uint8], search: str
) -> bool:
    """See ``qconv.blocks``."""
    return encode_groups(_encode if importance is None else _encode_important, rows, importance, out, TILE)


def decode_rows(blocks: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """See ``qconv.blocks``."""
    _decode(blocks.reshape(-1), blocks.reshape(-1).view(np.uint16), out.reshape(-1))


@inline
def _super_scale(scales, halves):
    """Each super-block's scale, which makes the largest of its sub-blocks' -32, and their 6-bit scales.

    ``scales``: a tile of sub-blocks' scales, in which the integers are left.
    """
    largest, extreme = splat(0.0, LANES), splat(0.0, LANES)
    for part in range(16):
        v = load(scales, part * LANES, LANES)
        larger = size(v) > largest
        largest, extreme = select(larger, size(v), largest), select(larger, v, extreme)
    some = extreme != 0.0
    inverse = select(some, -32.0 / extreme, 0.0)
    for part in range(16):
        level = to_nearest(inverse * load(scales, part * LANES, LANES))
        level = ((level & 0xFF) ^ 0x80) - 0x80  # the reference keeps one byte of it
        store(scales, part * LANES, to_float(select(some, least(most(level, -32), 31), -32)))
    store(halves, 0, to_half(select(some, 1.0 / inverse, 0.0)))


@inline
def _search_super_scale(scales, sums, halves):
    """The same by a search, a sub-block's scale counting as much as its weights."""
    d, inverse, largest = search_scale(scales, sums, False, 16, 32, True)
    for part in range(16):
        level = level_of(load(scales, part * LANES, LANES) * inverse, 32, True)
        store(scales, part * LANES, select(floats(largest) < LEAST, -32.0, level))
    store(halves, 0, to_half(d))


@inline
def _levels_of_moves(x, importance, column, levels):
    """The levels the search without importance ended with."""
    best_levels(x, levels)


@inline
def _levels_of_search(x, importance, column, levels):
    """The same with importance, that of the first sub-block beginning in ``column``."""
    places, weights = scratch(LANES, PLACE), scratch(TILE, f32)
    find(places, column, importance.size, 16, 16)
    gather(importance, places, 16, weights)
    weigh(x, weights, 2.0)
    _, inverse, largest = search_scale(x, weights, False, 16, 4, False)
    for i in range(16):
        level = level_of(load(x, i * LANES, LANES) * inverse, 4, False)
        store(levels, i * LANES, select(floats(largest) < LEAST, -4.0, level))


@inline
def _finish(rows, importance, first, start, groups, scales, halves, out, levels_of):
    """Quantizes a batch with the scales as stored, and writes it; ``levels_of`` searches for a group's own levels."""
    places, x, levels = scratch(LANES, PLACE), scratch(TILE, f32), scratch(TILE, f32)
    packed, quants, lane_scale = scratch(TILE, u8), scratch(TILE, u8), scratch(LANES, f32)
    for g in range(groups):
        begin = start + g * TILE
        find(places, begin, rows.size, 16, 16)
        gather(rows, places, 16, x)
        d = from_half(load(halves, g * COUNT, COUNT))
        for part in range(16):
            store(lane_scale, part * COUNT, d * load(scales, part * LANES + g * COUNT, COUNT))
        scale = load(lane_scale, 0, LANES)
        for i in range(16):
            level = most(least(to_nearest(load(x, i * LANES, LANES) / scale), 3), -4)
            store(packed, i * LANES, narrow(level + 4))
        if any_lane(scale == 0.0):
            # such a sub-block keeps the levels of the search, which were not kept
            levels_of(x, importance, first + begin, levels)
            for i in range(16):
                level = to_int(load(levels, i * LANES, LANES)) + 4
                kept = select(scale == 0.0, level, widen(load(packed, i * LANES, LANES)))
                store(packed, i * LANES, narrow(kept))
        turn_back(packed, quants, 0, 16)
        for number in range(COUNT):
            lane = g * COUNT + number
            _write(at(out, (start // 256 + lane) * _BYTES), number, lane, halves, scales, quants)


@kernel
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
        _finish(rows, None, first, start, groups, scales, halves, out, _levels_of_moves)
    return True


@kernel
def _encode_important(rows, importance, first, out):
    places, x, weights = scratch(LANES, PLACE), scratch(TILE, f32), scratch(TILE, f32)
    scales, sums, halves = scratch(TILE, f32), scratch(TILE, f32), scratch(LANES, u16)
    for start in range(0, rows.size, BATCH):
        groups = min(16, (rows.size - start) // TILE)
        for g in range(groups):
            begin = start + g * TILE
            find(places, begin, rows.size, 16, 16)
            gather(rows, places, 16, x)
            find(places, first + begin, importance.size, 16, 16)
            gather(importance, places, 16, weights)
            collect(weigh(x, weights, 2.0), sums, g)
            scale, _, largest = search_scale(x, weights, False, 16, 4, False)
            if any_lane(largest >= INFINITY):
                return False
            collect(scale, scales, g)
        _search_super_scale(scales, sums, halves)
        _finish(rows, importance, first, start, groups, scales, halves, out, _levels_of_search)
    return True


@inline
def _write(block, number, lane, halves, scales, quants):
    """Super-block ``number`` of a group, ``lane`` of a batch, as bytes."""
    for side in range(2):
        fours = low_bits(quants, number, 0, side) & 0
        for k in range(8):
            four = load(quants, ((2 * k + side) * COUNT + number) * 16, 16) >> 2 & 1
            fours = fours | four << k
        store(block, 16 * side, fours)
        store(block, 32 + 16 * side, low_bits(quants, number, 0, side))
        store(block, 64 + 16 * side, low_bits(quants, number, 1, side))
    for j in range(4):
        a = np.int32(scales[j * LANES + lane]) + 32
        b = np.int32(scales[(j + 4) * LANES + lane]) + 32
        c = np.int32(scales[(j + 8) * LANES + lane]) + 32
        d = np.int32(scales[(j + 12) * LANES + lane]) + 32
        block[96 + j] = a & 15 | (c & 15) << 4
        block[100 + j] = b & 15 | (d & 15) << 4
        block[104 + j] = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6
    put_half(block, 108, halves[lane])


@kernel
def _decode(blocks, halves, out):
    scales = scratch(16, f32)
    for i in range(blocks.size // _BYTES):
        begin = i * _BYTES
        low, high = load(blocks, begin + 96, 8), load(blocks, begin + 104, 4)
        high = join(join(high & 3, high >> 2 & 3), join(high >> 4 & 3, high >> 6))
        scale = to_float(widen(join(low & 15, low >> 4) | high << 4) - 32)
        store(scales, 0, scale * half(halves, (begin + 108) // 2))
        fours = load(blocks, begin, 32)
        for j in range(8):
            q = load(blocks, begin + 32 + 32 * (j >> 2), 32) >> 2 * (j & 3) & 3
            level = to_float(widen(q | (fours >> j & 1) << 2) - 4)
            store(out, i * 256 + 32 * j, level * repeat(load(scales, 2 * j, 2), 16))
