"""A longer search for Q4_K and Q5_K: smaller errors in the same format than ggml's own search finds.

ggml searches each sub-block's scale and minimum alone and rounds them to six bits at the end, which undoes much of the
search.  Here the sub-blocks then move within the rounded grid, scale and minimum one step up and down; the
super-block's two factors are fitted again to the quants chosen, by least squares; and the sub-blocks move once more.
Starting from what ggml finds and keeping only what is better, no super-block's weighted error becomes greater.
"""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks.lanes import (
    LANES,
    f32,
    from_half,
    i32,
    inline,
    load,
    repeat_all,
    rint,
    scratch,
    select,
    splat,
    store,
    to_float,
    to_half,
    to_int,
)
from qconv.blocks.subblocks32 import COUNT, mark, round_scales, search_unrounded
from qconv.blocks.tiles import FLT_MAX, clip

_TILE = 32 * LANES
_NORMAL = np.finfo(np.float32).tiny


@inline
def search_thorough(tile, w, quants, top, squares, importance, blocks, needs_exact, exact, settings, result):
    """As ``subblocks32.search_reference``; super-blocks it marks are better left to that one."""
    scales, mins, _, _, rounded, rounded_mins, d_bits, dmin_bits = result
    moved, moved_mins = scratch(LANES, i32), scratch(LANES, i32)
    inexact = search_unrounded(tile, w, quants, top, squares, exact, settings, result)
    round_scales(scales, rounded, d_bits)
    round_scales(mins, rounded_mins, dmin_bits)

    d, dmin = from_half(load(d_bits, 0, COUNT)), from_half(load(dmin_bits, 0, COUNT))
    error = _move(tile, w, top, d, dmin, rounded, rounded_mins, rounded, rounded_mins, True)
    new_d, new_dmin = _fit(tile, w, top, d, dmin, rounded, rounded_mins)
    new_error = _move(tile, w, top, new_d, new_dmin, rounded, rounded_mins, moved, moved_mins, False)
    better = new_error < error
    d, dmin = select(better, new_d, d), select(better, new_dmin, dmin)
    store(d_bits, 0, to_half(d))
    store(dmin_bits, 0, to_half(dmin))
    for j in range(8):
        part = j * COUNT
        q = select(better, load(moved, part, COUNT), load(rounded, part, COUNT))
        q_min = select(better, load(moved_mins, part, COUNT), load(rounded_mins, part, COUNT))
        store(rounded, part, q)
        store(rounded_mins, part, q_min)
        store(scales, part, d * to_float(q))
        store(mins, part, dmin * to_float(q_min))

    # with subnormal factors rounding is too coarse to gain anything
    small = repeat_all(d, 8) < _NORMAL * 4096.0
    mark(inexact | small | ~(squares > _NORMAL) | ~(squares <= FLT_MAX), blocks, needs_exact)


@inline
def _move(tile, w, top, d, dmin, rounded, rounded_mins, moved, moved_mins, both):
    """Each sub-block's best scale and minimum within a step, of one or of ``both`` at once.

    Returns the super-blocks' weighted squared errors.
    """
    step, step_min = repeat_all(d, 8), repeat_all(dmin, 8)
    best_scale, best_min = load(rounded, 0, LANES), load(rounded_mins, 0, LANES)
    scale, minimum = to_float(best_scale), to_float(best_min)
    best = splat(np.float32(np.inf), LANES)
    for a in range(-1, 2):
        # a scale of 0 says no more than a scale of 1 and quants of 0
        other = clip(scale + np.float32(a), 0.0, 63.0)
        other = select(other < 1.0, 1.0, other)
        for b in range(-1, 2):
            if both or a == 0 or b == 0:
                other_min = clip(minimum + np.float32(b), 0.0, 63.0)
                error = _error(tile, w, top, step * other, step_min * other_min)
                better = error < best
                best = select(better, error, best)
                best_scale = select(better, to_int(other), best_scale)
                best_min = select(better, to_int(other_min), best_min)
    store(moved, 0, best_scale)
    store(moved_mins, 0, best_min)
    return _sum_parts(best)


@inline
def _error(tile, w, top, scale, minimum):
    """Weighted squared error of lanes whose weights are at ``scale * q - minimum``, by the nearest quants."""
    inverse = 1.0 / scale
    shift = minimum * inverse
    total = splat(0.0, LANES)
    for i in range(32):
        v = load(tile, i * LANES, LANES) * inverse + shift
        off = v - clip(rint(v), 0.0, np.float32(top))
        total = total + load(w, i * LANES, LANES) * (off * off)
    return total * (scale * scale)


@inline
def _fit(tile, w, top, d, dmin, rounded, rounded_mins):
    """The factors with which the quants now chosen fit best, rounded to binary16; the old ones where none fit.

    A weight is about ``d * u - dmin * v`` with ``u`` scale times quant and ``v`` the sub-block's minimum: the normal
    equations of these two unknowns.
    """
    scale, minimum = to_float(load(rounded, 0, LANES)), to_float(load(rounded_mins, 0, LANES))
    step = repeat_all(d, 8) * scale
    inverse = 1.0 / step
    shift = repeat_all(dmin, 8) * minimum * inverse
    sum_w, sum_l, sum_l2 = splat(0.0, LANES), splat(0.0, LANES), splat(0.0, LANES)
    sum_x, sum_xl = splat(0.0, LANES), splat(0.0, LANES)
    for i in range(32):
        v, weight = load(tile, i * LANES, LANES), load(w, i * LANES, LANES)
        q = clip(rint(v * inverse + shift), 0.0, np.float32(top))
        weighted = weight * q
        sum_w, sum_x = sum_w + weight, sum_x + weight * v
        sum_l, sum_l2, sum_xl = sum_l + weighted, sum_l2 + weighted * q, sum_xl + weighted * v
    uu, uv = _sum_parts(scale * scale * sum_l2), _sum_parts(scale * minimum * sum_l)
    vv = _sum_parts(minimum * minimum * sum_w)
    ux, vx = _sum_parts(scale * sum_xl), _sum_parts(minimum * sum_x)
    det = uu * vv - uv * uv
    alone = ~(vv > 0.0)
    new_d = select(alone, ux / uu, (ux * vv - vx * uv) / det)
    new_dmin = select(alone, dmin, (ux * uv - vx * uu) / det)
    fits = (new_d > 0.0) & (new_d < 65504.0) & (new_dmin >= 0.0) & (new_dmin < 65504.0)
    return from_half(to_half(select(fits, new_d, d))), from_half(to_half(select(fits, new_dmin, dmin)))


@inline
def _sum_parts(v):
    """Sums over the sub-blocks of each super-block."""
    here = scratch(LANES, f32)
    store(here, 0, v)
    total = splat(0.0, COUNT)
    for j in range(8):
        total = total + load(here, j * COUNT, COUNT)
    return total
