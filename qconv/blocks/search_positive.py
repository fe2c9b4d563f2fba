"""The search of K-quants with importance for a super-block's scale and minimum, ggml's ``make_qp_quants``."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

import numpy as np

from qconv.blocks.groups import nearest
from qconv.blocks.lanes import LANES, any_lane, bits, inline, least, load, most, select, splat, store, to_float

_LEAST = 1e-15
_TRIES = 4


@inline
def search_positive(x, w, levels, steps, top):
    """The scale such that each lane's ``x``, not negative, is about ``scale * level``, levels from 0 to ``top``.

    ``x``, ``w``: tiles of ``steps`` values and of what each one's error weighs; ``levels``: int32, filled with the
    levels, each a byte as the reference keeps it.  Chooses among 9 inverse scales, fits the scale, then lets each value
    in turn change its level where that brings the fit closer.  Lanes without a value of 1e-15 get scale and levels 0.
    """
    greatest = splat(0.0, LANES)
    for i in range(steps):
        greatest = most(greatest, load(x, i * LANES, LANES))
    inverse = np.float32(top) / greatest
    best = splat(0.0, LANES)
    for i in range(steps):
        v = load(x, i * LANES, LANES)
        off = v - 1.0 / inverse * to_float(nearest(inverse * v) & 0xFF)
        best = best + load(w, i * LANES, LANES) * off * off
    for k in range(-_TRIES, _TRIES + 1):
        if k != 0:
            other = (np.float32(0.1) * np.float32(k) + np.float32(top)) / greatest
            error = splat(0.0, LANES)
            for i in range(steps):
                v = load(x, i * LANES, LANES)
                off = v - 1.0 / other * to_float(least(nearest(other * v), top))
                error = error + load(w, i * LANES, LANES) * off * off
            inverse = select(error < best, other, inverse)
            best = select(error < best, error, best)
    products, squares = splat(0.0, LANES), splat(0.0, LANES)
    for i in range(steps):
        v, weight = load(x, i * LANES, LANES), load(w, i * LANES, LANES)
        level = least(nearest(inverse * v), top)
        store(levels, i * LANES, level & 0xFF)
        products = products + weight * v * to_float(level)
        squares = squares + weight * to_float(level) * to_float(level)
    for _ in range(5):
        products, squares, changed = _improve(x, w, levels, steps, top, products, squares)
        if not any_lane(changed):
            break
    zero = greatest < _LEAST
    for i in range(steps):
        store(levels, i * LANES, select(zero, 0, load(levels, i * LANES, LANES)))
    return select((squares > 0.0) & ~zero, products / squares, 0.0)


@inline
def _improve(x, w, levels, steps, top, products, squares):
    changed = bits(products) != bits(products)
    for i in range(steps):
        v, weight, old = load(x, i * LANES, LANES), load(w, i * LANES, LANES), load(levels, i * LANES, LANES)
        level = to_float(old)
        rest_products = products - weight * v * level
        rest_squares = squares - weight * level * level
        new = least(nearest(v * rest_squares / rest_products), top)
        level = to_float(new)
        new_products = rest_products + weight * v * level
        new_squares = rest_squares + weight * level * level
        closer = new_products * new_products * squares > products * products * new_squares
        better = (rest_products > 0.0) & (rest_squares > 0.0) & (new != old) & closer
        store(levels, i * LANES, select(better, new & 0xFF, old))
        products, squares = select(better, new_products, products), select(better, new_squares, squares)
        changed = changed | better
    return products, squares, changed
