"""``make_qkx2_quants`` and, with importance, ``make_qkx3_quants``: a scale and a minimum for a sub-block's weights.

The first is for Q2_K, Q4_K and Q5_K, the second for Q4_1 and Q5_1 too.  Both start from the range of the weights, then
quantize with slightly different inverse scales and fit scale and minimum to the quants of each.  They differ in how
they round: with importance, numbers are clipped to the quants' range before, so that far outliers of no importance do
not wrap around.  (ggml does so from 0.26 on.)
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks import lanes
from qconv.blocks.lanes import LANES, any_lane, inline, load, opaque, rint, select, splat, store
from qconv.blocks.tiles import FAST_ROUNDING, FLT_MAX, at_least, clip, nearest


@inline
def search_scale_min(x, w, quants, steps, top, rmin, rdelta, nstep, absolute, exact):
    """Scale and minimum of each lane's sub-block, such that ``x`` is about ``scale * q + minimum``.

    Quants go from 0 to ``top``.  ``rmin``, ``rdelta``, ``nstep``: the inverse scales tried are
    ``(top + rmin + k * rdelta) / range``, k from 0 to ``nstep``; ``absolute``: errors count by their magnitude, not
    their square; ``exact``: quants are rounded as ggml does whatever the weights, which takes longer.

    Returns ``scale, minimum, inverse, low, needs_exact``: the best quants were ``nearest(inverse * (x - low))``, and
    lanes where rounding half to even may have differed from ggml's rounding need ``exact``.  A lane without range has
    scale and inverse 0.
    """
    floor, high, sums = _range(x, w, steps)
    low = select(floor > 0.0, 0.0, floor)
    inverse = np.float32(top) / (high - low)
    needs_exact = _far(inverse * (high - low))
    best = _begin(x, w, quants, steps, top, inverse, inverse, low, absolute, _within, _below, exact)
    for k in range(nstep + 1):
        inverse = (np.float32(rmin) + np.float32(rdelta) * np.float32(k) + np.float32(top)) / (high - best[1])
        lowest = inverse * (floor - best[1])
        # a minimum fitted above the greatest weight reverses the order of quants
        needs_exact = needs_exact | _far(inverse * (high - best[1])) | _far(lowest) | (lowest > np.float32(top))
        above = rmin + k * rdelta > 0.46
        best = _try(x, w, quants, steps, top, inverse, sums, absolute, _within, _below, above, exact, best)
    flat = high == low
    return (*_end(best, flat, low), needs_exact & ~flat)


@inline
def search_weighted(x, w, quants, steps, top):
    """As ``search_scale_min`` with importance: the best quants were ``quantize(inverse * (x - low), top)``."""
    floor, high, sums = _range(x, w, steps)
    low = select(floor > 0.0, 0.0, floor)
    inverse = np.float32(top) / (high - low)
    # for a range too small to invert, ggml's start, unlike its tries, has quant 0 everywhere
    start = select(lanes.abs(inverse) > FLT_MAX, 0.0, inverse)
    best = _begin(x, w, quants, steps, top, inverse, start, low, False, _clipped, _clipped, True)
    for k in range(opaque(37)):
        inverse = (np.float32(-0.9) + np.float32(0.05) * np.float32(k) + np.float32(top)) / (high - best[1])
        best = _try(x, w, quants, steps, top, inverse, sums, False, _clipped, _clipped, True, True, best)
    return _end(best, high == low, low)


@inline
def quantize(v, top):
    """``v`` as a quant with importance, float lanes from 0 to ``top``; 0 for NaN."""
    return rint(select(v > 0.0, lanes.min(v, np.float32(top)), 0.0))


@inline
def _far(v):
    """Lanes where rounding half to even may differ from ggml's rounding."""
    return ~(lanes.abs(v) <= FAST_ROUNDING)


@inline
def _range(x, w, steps):
    """Least and greatest weight, and the sums of the error weights and of weights times error weights."""
    floor = load(x, 0, LANES)
    high = floor
    sum_w = load(w, 0, LANES)
    sum_x = sum_w * floor
    for i in range(1, steps):
        v, weight = load(x, i * LANES, LANES), load(w, i * LANES, LANES)
        floor, high = lanes.min(v, floor), lanes.max(v, high)
        sum_w = sum_w + weight
        sum_x = sum_x + weight * v
    return floor, high, (sum_w, sum_x)


@inline
def _begin(x, w, quants, steps, top, inverse, start, low, absolute, within, below, exact):
    """Scale, minimum, inverse, low and error of the quants that the whole range gives, times ``start``."""
    scale = 1.0 / inverse
    _quantize(x, w, quants, steps, top, start, low, within, below, False, exact)
    return scale, low, start, low, _error(x, w, quants, steps, scale, low, absolute)


@inline
def _try(x, w, quants, steps, top, inverse, sums, absolute, within, below, above, exact, best):
    """What is best so far, or of the quants that ``inverse`` gives."""
    scale, minimum, best_inverse, best_low, best_error = best
    sum_w, sum_x = sums
    sum_l, sum_l2, sum_xl = _quantize(x, w, quants, steps, top, inverse, minimum, within, below, above, exact)
    det = sum_w * sum_l2 - sum_l * sum_l
    new_min = (sum_l2 * sum_x - sum_l * sum_xl) / det
    new_scale = (sum_w * sum_xl - sum_x * sum_l) / det
    positive = new_min > 0.0
    if any_lane(positive):  # hardly ever, so that the two divisions need not wait for one another
        new_min = select(positive, 0.0, new_min)
        new_scale = select(positive, sum_xl / sum_l2, new_scale)
    error = _error(x, w, quants, steps, new_scale, new_min, absolute)
    better = (det > 0.0) & (error < best_error)
    return (
        select(better, new_scale, scale),
        select(better, new_min, minimum),
        select(better, inverse, best_inverse),
        select(better, minimum, best_low),
        select(better, error, best_error),
    )


@inline
def _end(best, flat, low):
    """Scale, minimum, inverse and low; of lanes without range, ``flat``, those ggml gives them."""
    scale, minimum, inverse, best_low, _ = best
    return (
        select(flat, 0.0, scale),
        select(flat, low, minimum),
        select(flat, 0.0, inverse),
        select(flat, 0.0, best_low),
    )


@inline
def _quantize(x, w, quants, steps, top, inverse, low, within, below, above, exact):
    """Fills ``quants``; the weighted sums of quant, quant squared and weight times quant.

    ``within`` rounds where the greatest weight may come to more than the greatest quant, which ``above`` says,
    ``below`` where nothing has to see to that.
    """
    if above or exact:
        return _sums(x, w, quants, steps, top, inverse, low, within, exact)
    return _sums(x, w, quants, steps, top, inverse, low, below, exact)


@inline
def _sums(x, w, quants, steps, top, inverse, low, rounded, exact):
    sum_l, sum_l2, sum_xl = splat(0.0, LANES), splat(0.0, LANES), splat(0.0, LANES)
    for i in range(steps):
        v = load(x, i * LANES, LANES)
        q = rounded(inverse * (v - low), top, exact)
        store(quants, i * LANES, q)
        weighted = load(w, i * LANES, LANES) * q
        sum_l = sum_l + weighted
        sum_l2 = sum_l2 + weighted * q
        sum_xl = sum_xl + weighted * v
    return sum_l, sum_l2, sum_xl


@inline
def _within(v, top, exact):
    return clip(nearest(v, exact), 0.0, np.float32(top))


@inline
def _below(v, top, exact):
    return at_least(nearest(v, False), 0.0)


@inline
def _clipped(v, top, exact):
    return quantize(v, top)


@inline
def _error(x, w, quants, steps, scale, minimum, absolute):
    total = splat(0.0, LANES)
    for i in range(steps):
        off = scale * load(quants, i * LANES, LANES) + minimum - load(x, i * LANES, LANES)
        total = total + load(w, i * LANES, LANES) * (lanes.abs(off) if absolute else off * off)
    return total
