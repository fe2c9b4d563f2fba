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
    size,
    splat,
    store,
    to_float,
)
from qconv.blocks.tiles import LEAST, at_least, clip, to_nearest

_TRIES = 9
_TILE = 32 * LANES


@inline
def extremes(x, steps, exact):
    """The bits of each lane's largest size, and the value of that size.

    A lane with a value that is not finite has the bits of infinity or more; where ``exact``, NaN is passed over.
    """
    largest, extreme = bits(splat(0.0, LANES)), splat(0.0, LANES)
    for i in range(steps):
        v = load(x, i * LANES, LANES)
        magnitude = bits(size(v))  # ordered like the floats they are, NaN above all
        larger = (magnitude > largest) & (v == v) if exact else magnitude > largest
        largest, extreme = select(larger, magnitude, largest), select(larger, v, extreme)
    return largest, extreme


@inline
def search_scale(x, w, steps, top, largest, extreme, exact):
    """The scale such that each lane's ``x`` is about ``scale * level``, levels going from ``-top`` to ``top - 1``.

    ``x``, ``w``: tiles of ``steps`` values and of what each one's error weighs; ``largest``,
    ``extreme``: see ``extremes``; ``exact``: values may be infinite or NaN.  Maps the extreme to about
    ``-top``, with 19 slightly different inverse scales, and fits the scale to the levels of each.

    Returns the scale and the inverse whose levels it fits: ``levels(x, inverse)``; lanes of values below 1e-15 have
    scale 0.
    """
    products = scratch(_TILE, f32)
    for i in range(steps):
        store(products, i * LANES, load(w, i * LANES, LANES) * load(x, i * LANES, LANES))
    inverse = -np.float32(top) / extreme
    sum_lx, sum_l2 = _sums(x, w, products, steps, top, inverse, False, True, exact)
    scale = select(sum_l2 != 0.0, sum_lx / sum_l2, 0.0)
    found = (scale, scale * sum_lx, inverse)
    # sizes go up to top + k / 10: the first tries reach no limit, the next only the upper
    for k in range(-_TRIES, -5):
        found = _try(x, w, products, steps, top, extreme, k, False, False, exact, found)
    for k in range(-5, 5):
        if k != 0:
            found = _try(x, w, products, steps, top, extreme, k, False, True, exact, found)
    for k in range(5, _TRIES + 1):
        found = _try(x, w, products, steps, top, extreme, k, True, True, exact, found)
    return select(floats(largest) < LEAST, 0.0, found[0]), found[2]


@inline
def _try(x, w, products, steps, top, extreme, k, below, above, exact, found):
    scale, best, best_inverse = found
    inverse = -(np.float32(top) + np.float32(0.1) * np.float32(k)) / extreme
    sum_lx, sum_l2 = _sums(x, w, products, steps, top, inverse, below, above, exact)
    better = (sum_l2 > 0.0) & (sum_lx * sum_lx > best * sum_l2)
    scale = select(better, sum_lx / sum_l2, scale)
    best = select(better, scale * sum_lx, best)
    best_inverse = select(better, inverse, best_inverse)
    return scale, best, best_inverse


@inline
def _sums(x, w, products, steps, top, inverse, below, above, exact):
    """Weighted sums of weight times level and of level squared; levels may go ``below`` or ``above`` the limits."""
    sum_lx, sum_l2 = splat(0.0, LANES), splat(0.0, LANES)
    for i in range(steps):
        v = load(x, i * LANES, LANES) * inverse
        if exact:
            level = level_of(v, top, True)
        else:
            level = rint(v)
            if above:
                level = least(level, np.float32(top - 1))
            if below:
                level = at_least(level, np.float32(-top))
        sum_lx = sum_lx + load(products, i * LANES, LANES) * level
        sum_l2 = sum_l2 + load(w, i * LANES, LANES) * level * level
    return sum_lx, sum_l2


@inline
def level_of(v, top, exact):
    """``v`` rounded to a level, as a float; ``exact``: in the reference's way, NaN and huge numbers included."""
    if exact:
        return to_float(most(least(to_nearest(v), top - 1), -top))
    return clip(rint(v), np.float32(-top), np.float32(top - 1))
