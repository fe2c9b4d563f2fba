"""Q3_K: super-blocks of 16 sub-blocks of 16 weights, signed 6-bit scales and 3-bit quants from -4 to 3."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.compile import kernel
from qconv.blocks.groups import PLACE, encode_groups, fetch_ahead, find, nearest, turn_back
from qconv.blocks.lanes import (
    LANES,
    any_lane,
    bits,
    f32,
    floats,
    from_half,
    i32,
    inline,
    join,
    least,
    load,
    most,
    narrow,
    repeat,
    rint,
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
from qconv.blocks.search_scale import extremes, level_of, search_scale
from qconv.blocks.sixteenths import BATCH, COUNT, INFINITY, LEAST, TILE, collect, low_bits, weigh
from qconv.blocks.tiles import gather
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
def _start(x, levels):
    """First levels of each lane's sub-block, sums of its weights' cubes; False where a weight is not finite."""
    largest, extreme = extremes(x, 16, False)
    inverse = -4.0 / extreme
    products, squares = splat(0.0, LANES), splat(0.0, LANES)
    for i in range(16):
        v = load(x, i * LANES, LANES)
        level = least(rint(inverse * v), 3.0)  # sizes go up to that of the extreme, whose level is -4
        store(levels, i * LANES, level)
        w = v * v
        products = products + w * v * level
        squares = squares + w * level * level
    return products, squares, largest


@inline
def _improve(x, levels, products, squares):
    """Once over the weights in order, each may change its level if that brings the fit closer, the others as they are.

    The sums without a weight give the scale that fits the others, and that its new level.
    """
    changed = bits(products) & 0
    for i in range(16):
        v, level = load(x, i * LANES, LANES), load(levels, i * LANES, LANES)
        w = v * v
        wv = w * v
        rest_products = products - wv * level
        rest_squares = squares - w * level * level
        new = to_float(most(least(nearest(v * rest_squares / rest_products), 3), -4))
        new_products = rest_products + wv * new
        new_squares = rest_squares + w * new * new
        closer = new_products * new_products * squares > products * products * new_squares
        better = (rest_products > 0.0) & (new != level) & (new_squares > 0.0) & closer
        new = select(better, new, level)
        store(levels, i * LANES, new)
        products, squares = select(better, new_products, products), select(better, new_squares, squares)
        changed = changed | (bits(new) ^ bits(level))
    return products, squares, changed != 0


@inline
def _restless(x, levels, products, squares):
    """Lanes where ``_improve`` might change a level: seen without dividing, with a margin, so that some will not."""
    found = bits(products) & 0
    for i in range(16):
        v, level = load(x, i * LANES, LANES), load(levels, i * LANES, LANES)
        w = v * v
        rest_products = products - w * v * level
        off = v * (squares - w * level * level) - level * rest_products
        # a weight beyond the highest level stays there
        above = select(level > 2.5, splat(1e6, LANES), 0.4999) * rest_products
        settled = (rest_products <= 0.0) | ((off < above) & (off > rest_products * -0.4999))
        found = found | select(settled, 0, found | 1)
    return found != 0


@inline
def _fit(rows, start, lanes, count, tries, products, squares, again):
    """Sums of the best levels after at most ``tries`` improvements, for the ``count`` sub-blocks in ``lanes``.

    ``lanes`` number those of a batch; ``products`` and ``squares`` are stored there.  ``again`` gets the lanes that may
    change in another improvement; their number is returned, -1 if a weight is not finite.
    """
    places, flags = scratch(LANES, PLACE), scratch(LANES, i32)
    x, levels = scratch(TILE, f32), scratch(TILE, f32)
    p_here, s_here = scratch(LANES, f32), scratch(LANES, f32)
    left = 0
    for begin in range(0, count, LANES):
        number = min(LANES, count - begin)
        if tries == 0:
            fetch_ahead(rows, start + BATCH + begin * 16, TILE)
        for k in range(LANES):
            places[k] = start + _place(lanes[begin + min(k, number - 1)])
        gather(rows, places, 16, x)
        p, s, largest = _start(x, levels)
        if any_lane(largest >= INFINITY):
            return -1
        if tries == 0:
            changed = _restless(x, levels, p, s)
        for _ in range(tries):
            p, s, changed = _improve(x, levels, p, s)
        empty = floats(largest) < LEAST
        store(p_here, 0, select(empty, 0.0, p))
        store(s_here, 0, select(empty, 0.0, s))
        store(flags, 0, select(changed & ~empty, 1, largest & 0))
        for k in range(number):
            lane = lanes[begin + k]
            products[lane], squares[lane] = p_here[k], s_here[k]
            again[left] = lane
            left += flags[k]
    return left


@inline
def _place(lane):
    """Where in its batch's weights the sub-block of ``lane`` begins."""
    group, rest = lane // LANES, lane % LANES
    return (group * COUNT + rest % COUNT) * 256 + rest // COUNT * 16


@inline
def _search(rows, start, count, products, squares):
    """Sums of the levels the reference ends with for ``count`` sub-blocks; False if a weight is not finite.

    Few sub-blocks improve, and few of them more than once: those are brought together and done again, so that no lane
    waits for others.
    """
    here, there = scratch(TILE, PLACE), scratch(TILE, PLACE)
    for lane in range(count):
        here[lane] = lane
    for tries in (0, 2, 5):
        count = _fit(rows, start, here, count, tries, products, squares, there)
        if count < 0:
            return False
        here, there = there, here
    return True


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
        level = nearest(inverse * load(scales, part * LANES, LANES))
        level = ((level & 0xFF) ^ 0x80) - 0x80  # the reference keeps one byte of it
        store(scales, part * LANES, to_float(select(some, least(most(level, -32), 31), -32)))
    store(halves, 0, to_half(select(some, 1.0 / inverse, 0.0)))


@inline
def _search_super_scale(scales, sums, halves):
    """The same by a search, a sub-block's scale counting as much as its weights."""
    largest, extreme = extremes(scales, 16, True)
    d, inverse = search_scale(scales, sums, 16, 32, largest, extreme, True)
    for part in range(16):
        level = level_of(load(scales, part * LANES, LANES) * inverse, 32, True)
        store(scales, part * LANES, select(floats(largest) < LEAST, -32.0, level))
    store(halves, 0, to_half(d))


@inline
def _levels(x, levels):
    """The levels the reference ends its search with: -4, which is 0 as stored, for what it takes for zeros."""
    p, s, largest = _start(x, levels)
    for _ in range(5):
        p, s, changed = _improve(x, levels, p, s)
        if not any_lane(changed):
            break
    for i in range(16):
        store(levels, i * LANES, select(floats(largest) < LEAST, -4.0, load(levels, i * LANES, LANES)))


@inline
def _levels_of_search(x, weights, levels):
    """The same where weights have importance."""
    largest, extreme = extremes(x, 16, False)
    weigh(x, weights, 2.0)
    _, inverse = search_scale(x, weights, 16, 4, largest, extreme, False)
    for i in range(16):
        level = level_of(load(x, i * LANES, LANES) * inverse, 4, False)
        store(levels, i * LANES, select(floats(largest) < LEAST, -4.0, level))


@inline
def _finish(rows, importance, first, start, groups, scales, halves, out):
    """Quantizes a batch with the scales as stored, and writes it."""
    places = scratch(LANES, PLACE)
    x, weights, levels = scratch(TILE, f32), scratch(TILE, f32), scratch(TILE, f32)
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
            level = most(least(nearest(load(x, i * LANES, LANES) / scale), 3), -4)
            store(packed, i * LANES, narrow(level + 4))
        if any_lane(scale == 0.0):
            # such a sub-block keeps the levels of the search, which were not kept
            if importance is None:
                _levels(x, levels)
            else:
                find(places, first + begin, importance.size, 16, 16)
                gather(importance, places, 16, weights)
                _levels_of_search(x, weights, levels)
            for i in range(16):
                level = to_int(load(levels, i * LANES, LANES)) + 4
                kept = select(scale == 0.0, level, widen(load(packed, i * LANES, LANES)))
                store(packed, i * LANES, narrow(kept))
        turn_back(packed, quants, 0, 16)
        for number in range(COUNT):
            lane = g * COUNT + number
            _write(out, (start // 256 + lane) * _BYTES, number, lane, halves, scales, quants)


@kernel
def _encode(rows, importance, first, out):
    products, squares = scratch(TILE, f32), scratch(TILE, f32)
    scales, halves = scratch(TILE, f32), scratch(LANES, u16)
    for start in range(0, rows.size, BATCH):
        groups = min(16, (rows.size - start) // TILE)
        if not _search(rows, start, groups * LANES, products, squares):
            return False
        for g in range(groups):
            p, s = load(products, g * LANES, LANES), load(squares, g * LANES, LANES)
            collect(select(s > 0.0, p / s, 0.0), scales, g)
        _super_scale(scales, halves)
        _finish(rows, importance, first, start, groups, scales, halves, out)
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
            largest, extreme = extremes(x, 16, False)
            if any_lane(largest >= INFINITY):
                return False
            collect(weigh(x, weights, 2.0), sums, g)
            scale, _ = search_scale(x, weights, 16, 4, largest, extreme, False)
            collect(scale, scales, g)
        _search_super_scale(scales, sums, halves)
        _finish(rows, importance, first, start, groups, scales, halves, out)
    return True


@inline
def _write(out, at, number, lane, halves, scales, quants):
    """Super-block ``number`` of a group, ``lane`` of a batch, as bytes."""
    for side in range(2):
        fours = low_bits(quants, number, 0, side) & 0
        for k in range(8):
            four = load(quants, ((2 * k + side) * COUNT + number) * 16, 16) >> 2 & 1
            fours = fours | four << k
        store(out, at + 16 * side, fours)
        store(out, at + 32 + 16 * side, low_bits(quants, number, 0, side))
        store(out, at + 64 + 16 * side, low_bits(quants, number, 1, side))
    for j in range(4):
        a = np.int32(scales[j * LANES + lane]) + 32
        b = np.int32(scales[(j + 4) * LANES + lane]) + 32
        c = np.int32(scales[(j + 8) * LANES + lane]) + 32
        d = np.int32(scales[(j + 12) * LANES + lane]) + 32
        out[at + 96 + j] = a & 15 | (c & 15) << 4
        out[at + 100 + j] = b & 15 | (d & 15) << 4
        out[at + 104 + j] = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6
    out[at + 108] = halves[lane] & 0xFF
    out[at + 109] = halves[lane] >> 8


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
