"""``make_qx_quants``: the scale of weights around zero, for Q3_K, Q4_0 and Q5_0 (with importance) and Q6_K."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks import lanes
from qconv.blocks.lanes import (
    LANES,
    bits,
    f32,
    floats,
    inline,
    load,
    materialize,
    opaque,
    rint,
    scratch,
    select,
    splat,
    store,
    to_float,
)
from qconv.blocks.tiles import EPSILON, SIGN, clip, larger, to_nearest, without_nan

_TILE = 32 * LANES
_TWO = 2 * LANES


@inline
def search_scale(x, w, squares, steps, top, exact):
    """The scale such that each lane's ``x`` is about ``scale * q``, quants going from ``-top`` to ``top - 1``.

    ``squares``: ``w`` is filled with the values' squares; ``exact``: values may be infinite or NaN.  Maps the value of
    largest magnitude to about ``-top``, with 19 slightly different inverse scales, and fits the scale to the quants of
    each.

    Returns the scale, the inverse whose quants it fits, ``quantize(x * inverse)``, and the bits of the largest
    magnitude; lanes of values below 1e-15 have scale 0.
    """
    products, clipped = scratch(_TILE, f32), scratch(_TILE, f32)
    largest, extreme = bits(splat(0.0, LANES)), splat(0.0, LANES)
    for i in range(opaque(steps)):
        v = load(x, i * LANES, LANES)
        largest, extreme = larger(without_nan(v) if exact else v, largest, extreme)
        if squares:
            store(w, i * LANES, v * v)
        store(products, i * LANES, load(w, i * LANES, LANES) * v)

    # the last tries would come to less than -top: beyond the limit all of them come to -top
    limit = lanes.abs(extreme) * np.float32((top + 0.49) / (top + 0.9))
    sign = bits(extreme) & SIGN
    inverse = -np.float32(top) / extreme
    sum_lx, sum_l2 = splat(0.0, LANES), splat(0.0, LANES)
    for i in range(opaque(steps)):
        v = load(x, i * LANES, LANES)
        flipped = floats(bits(v) ^ sign)  # the extreme above zero
        store(clipped, i * LANES, flipped if exact else lanes.min(flipped, limit))
        q = _quantize(v * inverse, top, exact)
        sum_lx = sum_lx + load(products, i * LANES, LANES) * q
        sum_l2 = sum_l2 + load(w, i * LANES, LANES) * q * q
    scale = select(sum_l2 != 0.0, sum_lx / sum_l2, 0.0)

    best, inverses = (scale, scale * sum_lx, inverse), _inverses(top, extreme, opaque(0))
    same = sign & 0
    for pair in range(opaque(6)):
        best, inverses = _try_pair(x, same, w, products, squares, steps, top, extreme, pair, inverses, exact, best)
    for pair in range(6, opaque(9)):
        best, inverses = _try_pair(
            clipped, sign, w, products, squares, steps, top, extreme, pair, inverses, exact, best
        )
    return select(floats(largest) < EPSILON, 0.0, best[0]), best[2], largest


@inline
def _inverse(top, extreme, k):
    return -(np.float32(top) + np.float32(0.1) * np.float32(k)) / extreme


@inline
def _inverses(top, extreme, pair):
    """The inverse scales of two tries; all pairs in order go from -9 to 9 without 0."""
    return _inverse(top, extreme, 2 * pair - 9 + (pair > 4)), _inverse(top, extreme, 2 * pair - 8 + (pair > 3))


@inline
def _try_pair(x, sign, w, products, squares, steps, top, extreme, pair, inverses, exact, best):
    """The best scale, fit and inverse so far or of two more inverses, and the next pair's inverses.

    ``x``: values, of which those of lanes with a ``sign`` have theirs changed.
    """
    ahead = scratch(_TWO, f32)
    one, two = _inverses(top, extreme, pair + 1)
    store(ahead, 0, one)
    store(ahead, LANES, two)
    materialize(ahead)  # the divisions go on while the loop runs
    one, two = floats(bits(inverses[0]) ^ sign), floats(bits(inverses[1]) ^ sign)
    lx_one, l2_one, lx_two, l2_two = splat(0.0, LANES), splat(0.0, LANES), splat(0.0, LANES), splat(0.0, LANES)
    for i in range(steps):
        v, p, weight = load(x, i * LANES, LANES), load(products, i * LANES, LANES), load(w, i * LANES, LANES)
        q = _quantize(v * one, top, exact)
        lx_one = lx_one + p * q
        l2_one = l2_one + weight * q * q
        q = _quantize(v * two, top, exact)
        lx_two = lx_two + p * q
        l2_two = l2_two + weight * q * q
    best = _better(_better(best, lx_one, l2_one, inverses[0], squares), lx_two, l2_two, inverses[1], squares)
    return best, (load(ahead, 0, LANES), load(ahead, LANES, LANES))


@inline
def _quantize(v, top, exact):
    """``quantize`` where, unless ``exact``, nothing comes to less than ``-top``."""
    return quantize(v, top, True) if exact else lanes.min(rint(v), np.float32(top - 1))


@inline
def _better(best, sum_lx, sum_l2, inverse, squares):
    """The best scale, fit and inverse so far or, where it fits better, by the weighted sums of quant times value and of
    quant squared."""
    scale, fit, best_inverse = best
    better = sum_lx * sum_lx > fit * sum_l2
    if not squares:  # importance may be below 0
        better = better & (sum_l2 > 0.0)
    scale = select(better, sum_lx / sum_l2, scale)
    return scale, select(better, scale * sum_lx, fit), select(better, inverse, best_inverse)


@inline
def quantize(v, top, exact):
    """``v`` rounded to a quant, as a float; ``exact``: as ggml does, NaN and huge numbers included."""
    if exact:
        return to_float(lanes.max(lanes.min(to_nearest(v), top - 1), -top))
    return clip(rint(v), np.float32(-top), np.float32(top - 1))
