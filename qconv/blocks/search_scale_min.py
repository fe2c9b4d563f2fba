"""The search of Q2_K, Q4_K, Q5_K, Q4_1 and Q5_1 for scale and minimum of a sub-block, ggml's ``make_qkx2_quants``."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks.lanes import LANES, any_lane, inline, load, select, size, splat, store
from qconv.blocks.tiles import EXACT, at_least, clip, nearest


@inline
def search_scale_min(x, w, levels, steps, top, first, grain, tries, absolute, exact):
    """Scale and minimum of each lane's sub-block, such that ``x`` is about ``scale * level + minimum``.

    ``x``, ``w``: tiles of weights and of what each one's error weighs; ``levels``: a tile to work in; levels go from 0
    to ``top``.  Starts from the range of the weights, then quantizes with ``tries`` slightly different inverse scales,
    ``(top + first + k * grain) / range``, and fits scale and minimum to each; ``absolute``: errors count by their size,
    not their square.

    Returns ``scale, minimum, inverse, low, doubtful``: the best levels were
    ``nearest(inverse * (x - low))``, and lanes in doubt need ``exact``.  A lane without range has scale and inverse 0.
    """
    floor = load(x, 0, LANES)
    high = floor
    sum_w = load(w, 0, LANES)
    sum_x = sum_w * floor
    for i in range(1, steps):
        v = load(x, i * LANES, LANES)
        weight = load(w, i * LANES, LANES)
        floor = select(v < floor, v, floor)
        high = select(v > high, v, high)
        sum_w = sum_w + weight
        sum_x = sum_x + weight * v
    low = select(floor > 0.0, 0.0, floor)
    flat = high == low

    inverse = np.float32(top) / (high - low)
    doubtful = far(inverse * (high - low))
    scale = 1.0 / inverse
    _quantize(x, w, levels, steps, top, inverse, low, False, exact)
    best = _error(x, w, levels, steps, scale, low, absolute)
    best_inverse, best_low, minimum = inverse, low, low
    for k in range(tries):
        inverse = (np.float32(first) + np.float32(grain) * np.float32(k) + np.float32(top)) / (high - minimum)
        lowest = inverse * (floor - minimum)
        # a minimum fitted above the greatest weight turns the order of levels round
        doubtful = doubtful | far(inverse * (high - minimum)) | far(lowest) | (lowest > np.float32(top))
        sum_l, sum_l2, sum_xl = _quantize(x, w, levels, steps, top, inverse, minimum, first + k * grain > 0.46, exact)
        det = sum_w * sum_l2 - sum_l * sum_l
        new_min = (sum_l2 * sum_x - sum_l * sum_xl) / det
        new_scale = (sum_w * sum_xl - sum_x * sum_l) / det
        above = new_min > 0.0
        if any_lane(above):  # hardly ever, so that the two divisions need not wait for one another
            new_min = select(above, 0.0, new_min)
            new_scale = select(above, sum_xl / sum_l2, new_scale)
        error = _error(x, w, levels, steps, new_scale, new_min, absolute)
        better = (det > 0.0) & (error < best)
        best = select(better, error, best)
        best_inverse = select(better, inverse, best_inverse)
        best_low = select(better, minimum, best_low)
        scale = select(better, new_scale, scale)
        minimum = select(better, new_min, minimum)
    return (
        select(flat, 0.0, scale),
        select(flat, low, minimum),
        select(flat, 0.0, best_inverse),
        select(flat, 0.0, best_low),
        doubtful & ~flat,
    )


@inline
def far(v):
    """Lanes where rounding half to even may differ from ggml's rounding."""
    return ~(size(v) <= EXACT)


@inline
def _quantize(x, w, levels, steps, top, inverse, low, above, exact):
    """Fills ``levels``; the weighted sums of level, level squared and weight times level."""
    sum_l = splat(0.0, LANES)
    sum_l2 = splat(0.0, LANES)
    sum_xl = splat(0.0, LANES)
    # two loops: where the greatest weight cannot round to more than the greatest level, nothing has to see to it
    if above or exact:
        for i in range(steps):
            v = load(x, i * LANES, LANES)
            level = clip(nearest(inverse * (v - low), exact), 0.0, np.float32(top))
            store(levels, i * LANES, level)
            weighted = load(w, i * LANES, LANES) * level
            sum_l = sum_l + weighted
            sum_l2 = sum_l2 + weighted * level
            sum_xl = sum_xl + weighted * v
    else:
        for i in range(steps):
            v = load(x, i * LANES, LANES)
            level = at_least(nearest(inverse * (v - low), False), 0.0)
            store(levels, i * LANES, level)
            weighted = load(w, i * LANES, LANES) * level
            sum_l = sum_l + weighted
            sum_l2 = sum_l2 + weighted * level
            sum_xl = sum_xl + weighted * v
    return sum_l, sum_l2, sum_xl


@inline
def _error(x, w, levels, steps, scale, minimum, absolute):
    total = splat(0.0, LANES)
    for i in range(steps):
        off = scale * load(levels, i * LANES, LANES) + minimum - load(x, i * LANES, LANES)
        total = total + load(w, i * LANES, LANES) * (size(off) if absolute else off * off)
    return total
