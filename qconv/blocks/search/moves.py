"""``make_q3_quants``: the scale of weights around zero, for Q3_K without importance.

Quants from -4 to 3 start from the weight of largest magnitude; then each weight in turn changes its quant where that
brings the fit closer, up to five times over.
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from qconv.blocks import lanes
from qconv.blocks.groups import INDEX
from qconv.blocks.lanes import (
    LANES,
    any_lane,
    bits,
    f32,
    floats,
    i32,
    inline,
    load,
    prefetch,
    rint,
    scratch,
    select,
    splat,
    store,
    to_float,
)
from qconv.blocks.subblocks16 import BATCH, COUNT, TILE
from qconv.blocks.tiles import EPSILON, extreme, finite, gather, to_nearest


@inline
def _start(x, quants):
    """First quants of each lane's sub-block, their sums with the weights cubed and squared, and the bits of the largest
    magnitude."""
    largest, value = extreme(x, 16)
    inverse = -4.0 / value
    products, squares = splat(0.0, LANES), splat(0.0, LANES)
    for i in range(16):
        v = load(x, i * LANES, LANES)
        q = lanes.min(rint(inverse * v), 3.0)  # magnitudes go up to that of the extreme, whose quant is -4
        store(quants, i * LANES, q)
        w = v * v
        products = products + w * v * q
        squares = squares + w * q * q
    return products, squares, largest


@inline
def _improve(x, quants, products, squares):
    """Once over the weights in order, each may change its quant if that brings the fit closer, the others as they are.

    The sums without a weight give the scale that fits the others, and that its new quant.
    """
    changed = bits(products) & 0
    for i in range(16):
        v, q = load(x, i * LANES, LANES), load(quants, i * LANES, LANES)
        w = v * v
        wv = w * v
        rest_products = products - wv * q
        rest_squares = squares - w * q * q
        new = to_float(lanes.max(lanes.min(to_nearest(v * rest_squares / rest_products), 3), -4))
        new_products = rest_products + wv * new
        new_squares = rest_squares + w * new * new
        closer = new_products * new_products * squares > products * products * new_squares
        better = (rest_products > 0.0) & (new != q) & (new_squares > 0.0) & closer
        new = select(better, new, q)
        store(quants, i * LANES, new)
        products, squares = select(better, new_products, products), select(better, new_squares, squares)
        changed = changed | (bits(new) ^ bits(q))
    return products, squares, changed != 0


@inline
def _may_improve(x, quants, products, squares):
    """Lanes where ``_improve`` might change a quant: seen without dividing, with a margin, so that some will not."""
    flags = bits(products) & 0
    for i in range(16):
        v, q = load(x, i * LANES, LANES), load(quants, i * LANES, LANES)
        w = v * v
        rest_products = products - w * v * q
        off = v * (squares - w * q * q) - q * rest_products
        # a weight beyond the highest quant stays there
        above = select(q > 2.5, splat(1e6, LANES), 0.4999) * rest_products
        settled = (rest_products <= 0.0) | ((off < above) & (off > rest_products * -0.4999))
        flags = flags | select(settled, 0, flags | 1)
    return flags != 0


@inline
def _fit(rows, start, numbers, count, tries, products, squares, again):
    """Sums of the best quants after at most ``tries`` improvements, for the first ``count`` sub-blocks in ``numbers``.

    ``numbers`` are those of lanes of a batch, where ``products`` and ``squares`` are stored.  ``again`` gets those that
    may change in another improvement; their count is returned, -1 if a weight is not finite.
    """
    starts, flags = scratch(LANES, INDEX), scratch(LANES, i32)
    x, quants = scratch(TILE, f32), scratch(TILE, f32)
    p_here, s_here = scratch(LANES, f32), scratch(LANES, f32)
    left = 0
    for begin in range(0, count, LANES):
        here = min(LANES, count - begin)
        for k in range(LANES):
            starts[k] = start + _first_weight(numbers[begin + min(k, here - 1)])
        gather(rows, starts, 16, x)
        p, s, largest = _start(x, quants)
        if not finite(largest):
            return -1
        if tries == 0:
            changed = _may_improve(x, quants, p, s)
        for _ in range(tries):
            p, s, changed = _improve(x, quants, p, s)
        empty = floats(largest) < EPSILON
        store(p_here, 0, select(empty, 0.0, p))
        store(s_here, 0, select(empty, 0.0, s))
        store(flags, 0, select(changed & ~empty, 1, largest & 0))
        for k in range(here):
            prefetch(rows, start + BATCH + (begin + k) * 16)  # of the next batch, or past the end
            number = numbers[begin + k]
            products[number], squares[number] = p_here[k], s_here[k]
            again[left] = number
            left += flags[k]
    return left


@inline
def _first_weight(number):
    """Where in its batch's weights the sub-block of a lane begins."""
    group, rest = number // LANES, number % LANES
    return (group * COUNT + rest % COUNT) * 256 + rest // COUNT * 16


@inline
def search_batch(rows, start, count, products, squares):
    """Sums of the quants the reference ends with for ``count`` sub-blocks; False if a weight is not finite.

    Few sub-blocks improve, and few of them more than once: those are brought together and done again, so that no lane
    waits for others.
    """
    here, there = scratch(TILE, INDEX), scratch(TILE, INDEX)
    for number in range(count):
        here[number] = number
    for tries in (0, 2, 5):
        count = _fit(rows, start, here, count, tries, products, squares, there)
        if count < 0:
            return False
        here, there = there, here
    return True


@inline
def best_quants(x, quants):
    """The quants the reference ends its search with: -4, which is 0 as stored, for what it takes for zeros."""
    p, s, largest = _start(x, quants)
    for _ in range(5):
        p, s, changed = _improve(x, quants, p, s)
        if not any_lane(changed):
            break
    for i in range(16):
        store(quants, i * LANES, select(floats(largest) < EPSILON, -4.0, load(quants, i * LANES, LANES)))
