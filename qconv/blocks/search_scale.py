"""The search of Q3_K (with importance) and Q6_K for the scale of weights around zero, ggml's ``make_qx_quants``."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

import numpy as np

from qconv.blocks.groups import nearest
from qconv.blocks.lanes import (
    LANES,
    bits,
    floats,
    inline,
    least,
    load,
    most,
    rint,
    select,
    size,
    splat,
    to_float,
)

_LEAST = 1e-15
_TRIES = 9


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

    ``x``, ``w``: tiles of ``steps`` values and of what each one's error weighs; ``largest``, ``extreme``: see
    ``extremes``; ``exact``: values may be infinite or NaN.  Maps the extreme to about ``-top``, with 19 slightly
    different inverse scales, and fits the scale to the levels of each.

    Returns the scale and the inverse whose levels it fits: ``levels(x, inverse)``; lanes of values below 1e-15 have
    scale 0.
    """
    best_inverse = -np.float32(top) / extreme
    products, squares = _sums(x, w, steps, top, best_inverse, exact)
    scale = select(squares != 0.0, products / squares, 0.0)
    best = scale * products
    for k in range(-_TRIES, _TRIES + 1):
        if k != 0:
            inverse = -(np.float32(top) + np.float32(0.1) * np.float32(k)) / extreme
            products, squares = _sums(x, w, steps, top, inverse, exact)
            better = (squares > 0.0) & (products * products > best * squares)
            scale = select(better, products / squares, scale)
            best = select(better, scale * products, best)
            best_inverse = select(better, inverse, best_inverse)
    return select(floats(largest) < _LEAST, 0.0, scale), best_inverse


@inline
def _sums(x, w, steps, top, inverse, exact):
    products, squares = splat(0.0, LANES), splat(0.0, LANES)
    for i in range(steps):
        v, weight = load(x, i * LANES, LANES), load(w, i * LANES, LANES)
        level = level_of(v * inverse, top, exact)
        products = products + weight * v * level
        squares = squares + weight * level * level
    return products, squares


@inline
def level_of(v, top, exact):
    """``v`` rounded to a level, as a float; ``exact``: in the reference's way, NaN and huge numbers included."""
    if exact:
        return to_float(most(least(nearest(v), top - 1), -top))
    return most(least(rint(v), np.float32(top - 1)), np.float32(-top))
