"""The search of Q3_K (with importance) and Q6_K for the scale of weights around zero, ggml's ``make_qx_quants``."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

import numpy as np

from qconv.blocks.lanes import (
    LANES,
    bits,
    f32,
    floats,
    inline,
    least,
    load,
    most,
    rint,
    scratch,
    select,
    settle,
    size,
    splat,
    store,
    to_float,
    unknown,
)
from qconv.blocks.tiles import LEAST, SIGN, clip, to_nearest

_TILE = 32 * LANES
_TWO = 2 * LANES


@inline
def extremes(x, steps):
    """The bits of each lane's largest size, and the value of that size.

    A lane with a value that is not finite has the bits of infinity or more.
    """
    largest, extreme = bits(splat(0.0, LANES)), splat(0.0, LANES)
    for i in range(steps):
        largest, extreme = _larger(load(x, i * LANES, LANES), largest, extreme, False)
    return largest, extreme


@inline
def _larger(v, largest, extreme, exact):
    """The larger of ``v`` and what is largest so far; where ``exact``, NaN is passed over."""
    magnitude = bits(size(v))  # ordered like the floats they are, NaN above all
    larger = (magnitude > largest) & (v == v) if exact else magnitude > largest
    return select(larger, magnitude, largest), select(larger, v, extreme)


@inline
def search_scale(x, w, squares, steps, top, exact):
    """The scale such that each lane's ``x`` is about ``scale * level``, levels going from ``-top`` to ``top - 1``.

    ``x``, ``w``: tiles of ``steps`` values and of what each one's error weighs, which is filled with the values'
    squares if ``squares``; ``exact``: values may be infinite or NaN.  Maps the value of largest size to about ``-top``,
    with 19 slightly different inverse scales, and fits the scale to the levels of each.

    Returns the scale, the inverse whose levels it fits, ``level_of(x * inverse)``, and the bits of the largest size;
    lanes of values below 1e-15 have scale 0.
    """
    products, clipped = scratch(_TILE, f32), scratch(_TILE, f32)
    largest, extreme = bits(splat(0.0, LANES)), splat(0.0, LANES)
    for i in range(unknown(steps)):
        v = load(x, i * LANES, LANES)
        largest, extreme = _larger(v, largest, extreme, exact)
        if squares:
            store(w, i * LANES, v * v)
        store(products, i * LANES, load(w, i * LANES, LANES) * v)

    # the last tries would come to less than -top: beyond the limit all of them come to -top
    limit = size(extreme) * np.float32((top + 0.49) / (top + 0.9))
    sign = bits(extreme) & SIGN
    inverse = -np.float32(top) / extreme
    sum_lx, sum_l2 = splat(0.0, LANES), splat(0.0, LANES)
    for i in range(unknown(steps)):
        v = load(x, i * LANES, LANES)
        turned = floats(bits(v) ^ sign)  # the extreme above zero
        store(clipped, i * LANES, turned if exact else least(turned, limit))
        level = _level(v * inverse, top, exact)
        sum_lx = sum_lx + load(products, i * LANES, LANES) * level
        sum_l2 = sum_l2 + load(w, i * LANES, LANES) * level * level
    scale = select(sum_l2 != 0.0, sum_lx / sum_l2, 0.0)

    found, inverses = (scale, scale * sum_lx, inverse), _inverses(top, extreme, unknown(0))
    same = sign & 0
    for pair in range(unknown(6)):
        found, inverses = _try(x, same, w, products, squares, steps, top, extreme, pair, inverses, exact, found)
    for pair in range(6, unknown(9)):
        found, inverses = _try(clipped, sign, w, products, squares, steps, top, extreme, pair, inverses, exact, found)
    return select(floats(largest) < LEAST, 0.0, found[0]), found[2], largest


@inline
def _inverse(top, extreme, k):
    return -(np.float32(top) + np.float32(0.1) * np.float32(k)) / extreme


@inline
def _inverses(top, extreme, pair):
    """The inverse scales of two tries; all pairs in order go from -9 to 9 without 0."""
    return _inverse(top, extreme, 2 * pair - 9 + (pair > 4)), _inverse(top, extreme, 2 * pair - 8 + (pair > 3))


@inline
def _try(x, sign, w, products, squares, steps, top, extreme, pair, inverses, exact, found):
    """Scale, fit and inverse ``found``, or those of two inverses where they fit better; and the next pair's inverses.

    ``x``: values, of which those of lanes with a ``sign`` have theirs changed.
    """
    ahead = scratch(_TWO, f32)
    one, two = _inverses(top, extreme, pair + 1)
    store(ahead, 0, one)
    store(ahead, LANES, two)
    settle(ahead)  # the divisions go on while the loop runs
    one, two = floats(bits(inverses[0]) ^ sign), floats(bits(inverses[1]) ^ sign)
    lx_one, l2_one, lx_two, l2_two = splat(0.0, LANES), splat(0.0, LANES), splat(0.0, LANES), splat(0.0, LANES)
    for i in range(steps):
        v, p, weight = load(x, i * LANES, LANES), load(products, i * LANES, LANES), load(w, i * LANES, LANES)
        level = _level(v * one, top, exact)
        lx_one = lx_one + p * level
        l2_one = l2_one + weight * level * level
        level = _level(v * two, top, exact)
        lx_two = lx_two + p * level
        l2_two = l2_two + weight * level * level
    found = _better(_better(found, lx_one, l2_one, inverses[0], squares), lx_two, l2_two, inverses[1], squares)
    return found, (load(ahead, 0, LANES), load(ahead, LANES, LANES))


@inline
def _level(v, top, exact):
    """A level, as a float; other than ``exact`` ones are at least ``-top`` by themselves."""
    return level_of(v, top, True) if exact else least(rint(v), np.float32(top - 1))


@inline
def _better(found, sum_lx, sum_l2, inverse, squares):
    """What is ``found`` or, where it fits better, by the weighted sums of value times level and of level squared."""
    scale, fit, best_inverse = found
    better = sum_lx * sum_lx > fit * sum_l2
    if not squares:  # importance may be below 0
        better = better & (sum_l2 > 0.0)
    scale = select(better, sum_lx / sum_l2, scale)
    return scale, select(better, scale * sum_lx, fit), select(better, inverse, best_inverse)


@inline
def level_of(v, top, exact):
    """``v`` rounded to a level, as a float; ``exact``: in the reference's way, NaN and huge numbers included."""
    if exact:
        return to_float(most(least(to_nearest(v), top - 1), -top))
    return clip(rint(v), np.float32(-top), np.float32(top - 1))
