"""The search of Q3_K without importance for the scale of weights around zero, ggml's ``make_q3_quants``.

Levels from -4 to 3 start from the weight of largest size; then each weight in turn changes its level where that brings
the fit closer, up to five times over.
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

from qconv.blocks.groups import PLACE
from qconv.blocks.lanes import (
    LANES,
    any_lane,
    bits,
    f32,
    floats,
    i32,
    inline,
    least,
    load,
    most,
    prefetch,
    rint,
    scratch,
    select,
    splat,
    store,
    to_float,
)
from qconv.blocks.search_scale import extremes
from qconv.blocks.sixteenths import BATCH, COUNT, TILE
from qconv.blocks.tiles import INFINITY, LEAST, gather, to_nearest


@inline
def _start(x, levels):
    """First levels of each lane's sub-block, sums of its weights' cubes; False where a weight is not finite."""
    largest, extreme = extremes(x, 16)
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
        new = to_float(most(least(to_nearest(v * rest_squares / rest_products), 3), -4))
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
            prefetch(rows, start + BATCH + (begin + k) * 16)  # of the next batch, or past the end
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
def search_batch(rows, start, count, products, squares):
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
def best_levels(x, levels):
    """The levels the reference ends its search with: -4, which is 0 as stored, for what it takes for zeros."""
    p, s, largest = _start(x, levels)
    for _ in range(5):
        p, s, changed = _improve(x, levels, p, s)
        if not any_lane(changed):
            break
    for i in range(16):
        store(levels, i * LANES, select(floats(largest) < LEAST, -4.0, load(levels, i * LANES, LANES)))
