"""The search with importance of Q2_K, Q4_K, Q5_K, Q4_1 and Q5_1 for a scale and a minimum: ``make_qkx3_quants``.

It differs from ``search_scale_min`` in how it rounds: numbers are brought between 0 and the greatest level before, so
that far outliers without importance do not wrap around.  (ggml does so from 0.26 on.)
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

import numpy as np

from qconv.blocks.lanes import LANES, any_lane, inline, least, load, most, rint, select, size, splat, store, unknown
from qconv.blocks.tiles import LARGEST

_TRIES = 37


@inline
def level_between(v, top):
    """``v`` as a level, float lanes from 0 to ``top``; 0 for NaN."""
    return rint(select(v > 0.0, least(v, np.float32(top)), 0.0))


@inline
def search_important(x, w, levels, steps, top):
    """Scale and minimum of each lane's sub-block, such that ``x`` is about ``scale * level + minimum``.

    ``x``, ``w``: tiles of ``steps`` weights and of what each one's error weighs; ``levels``: a tile to work in.  Starts
    from the range of the weights, then quantizes with 37 slightly different inverse scales and fits to each.

    Returns ``scale, minimum, inverse, low``: the best levels were ``level_between(inverse * (x - low), top)``.  A lane
    without range has scale and inverse 0.
    """
    floor = load(x, 0, LANES)
    high = floor
    sum_w = load(w, 0, LANES)
    sum_x = sum_w * floor
    for i in range(1, steps):
        v, weight = load(x, i * LANES, LANES), load(w, i * LANES, LANES)
        floor, high = least(v, floor), most(v, high)
        sum_w = sum_w + weight
        sum_x = sum_x + weight * v
    low = select(floor > 0.0, 0.0, floor)
    flat = high == low

    inverse = np.float32(top) / (high - low)
    scale = 1.0 / inverse
    # for a range too small to invert, the reference's start, unlike its tries, has level 0 everywhere
    best_inverse, best_low, minimum = select(size(inverse) > LARGEST, 0.0, inverse), low, low
    _quantize(x, w, levels, steps, top, best_inverse, low)
    best = _error(x, w, levels, steps, scale, low)
    for k in range(unknown(_TRIES)):
        inverse = (np.float32(-0.9) + np.float32(0.05) * np.float32(k) + np.float32(top)) / (high - minimum)
        sum_l, sum_l2, sum_xl = _quantize(x, w, levels, steps, top, inverse, minimum)
        det = sum_w * sum_l2 - sum_l * sum_l
        new_min = (sum_l2 * sum_x - sum_l * sum_xl) / det
        new_scale = (sum_w * sum_xl - sum_x * sum_l) / det
        above = new_min > 0.0
        if any_lane(above):  # hardly ever, so that the two divisions need not wait for one another
            new_min = select(above, 0.0, new_min)
            new_scale = select(above, sum_xl / sum_l2, new_scale)
        error = _error(x, w, levels, steps, new_scale, new_min)
        better = (det > 0.0) & (error < best)
        best = select(better, error, best)
        best_inverse, best_low = select(better, inverse, best_inverse), select(better, minimum, best_low)
        scale, minimum = select(better, new_scale, scale), select(better, new_min, minimum)
    return (
        select(flat, 0.0, scale),
        select(flat, low, minimum),
        select(flat, 0.0, best_inverse),
        select(flat, 0.0, best_low),
    )


@inline
def _quantize(x, w, levels, steps, top, inverse, low):
    """Fills ``levels``; the weighted sums of level, level squared and weight times level."""
    sum_l, sum_l2, sum_xl = splat(0.0, LANES), splat(0.0, LANES), splat(0.0, LANES)
    for i in range(steps):
        v = load(x, i * LANES, LANES)
        level = level_between(inverse * (v - low), top)
        store(levels, i * LANES, level)
        weighted = load(w, i * LANES, LANES) * level
        sum_l = sum_l + weighted
        sum_l2 = sum_l2 + weighted * level
        sum_xl = sum_xl + weighted * v
    return sum_l, sum_l2, sum_xl


@inline
def _error(x, w, levels, steps, scale, minimum):
    total = splat(0.0, LANES)
    for i in range(steps):
        off = scale * load(levels, i * LANES, LANES) + minimum - load(x, i * LANES, LANES)
        total = total + load(w, i * LANES, LANES) * (off * off)
    return total
