"""What Q4_K and Q5_K share: super-blocks of 8 sub-blocks of 32, each with a 6-bit scale and a 6-bit minimum.

A lane is a sub-block, and ``COUNT`` super-blocks are worked on at once (see ``groups``).
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks import lanes
from qconv.blocks.groups import INDEX, find_importance, find_super_blocks, squares_of_super_blocks
from qconv.blocks.lanes import (
    LANES,
    any_lane,
    as_float,
    at,
    f32,
    from_half,
    i32,
    inline,
    load,
    narrow,
    outlined,
    repeat_all,
    scratch,
    select,
    splat,
    store,
    to_float,
    to_half,
    to_int,
    u16,
    widen,
)
from qconv.blocks.search.positive import positive_search
from qconv.blocks.search.scale_min import quantize, search_scale_min, search_weighted
from qconv.blocks.tiles import (
    FLT_MAX,
    finite,
    gather,
    largest_magnitude,
    nearest,
    prefetch_weights,
    put_uint16,
    sum_of_squares,
    to_nearest,
    weigh,
)
from qconv.blocks.unpack import half

COUNT = LANES // 8
"""Super-blocks in a group."""
_TILE = 32 * LANES
_search_positive = positive_search(COUNT)
_sum_of_squares = squares_of_super_blocks(8)


@inline
def encode_blocks(x, importance, out, needs_exact, retry, top, fields, qh, search, settings):
    """Encodes all super-blocks of ``x``, or those whose numbers are in ``retry``, which are rounded as ggml does.

    ``top``: the greatest quant.  ``search``: ``search_reference`` or a function like it, with its ``settings``.
    ``needs_exact``: uint8 a super-block, set where rounding half to even may differ from ggml's rounding.  ``qh``: the
    offset of the quants' fifth bits or None.  False when a weight is not finite.
    """
    exact = retry is not None
    count = x.size // 256 if retry is None else retry.size
    tile, w, quants = scratch(_TILE, f32), scratch(_TILE, f32), scratch(_TILE, f32)
    blocks, starts = scratch(COUNT, INDEX), scratch(LANES, INDEX)
    scales, mins, inverses, lows = scratch(LANES, f32), scratch(LANES, f32), scratch(LANES, f32), scratch(LANES, f32)
    rounded_scales, rounded_mins = scratch(LANES, i32), scratch(LANES, i32)
    d, dmin = scratch(COUNT, u16), scratch(COUNT, u16)
    result = (scales, mins, inverses, lows, rounded_scales, rounded_mins, d, dmin)
    for base in range(0, count, COUNT):
        here = min(COUNT, count - base)
        find_super_blocks(blocks, starts, base, here, retry, 8)
        gather(x, starts, 32, tile)
        squares = sum_of_squares(tile, 32)
        if any_lane(~(squares <= FLT_MAX)) and not finite(largest_magnitude(tile, 32)):
            return False
        search(tile, w, quants, top, squares, importance, blocks, needs_exact, exact, settings, result)
        for s in range(here):
            prefetch_weights(x, (blocks[s] + 2 * COUNT) * 256, 256)
            block = at(out, blocks[s] * fields.end)
            put_uint16(block, fields.d, d[s])
            put_uint16(block, fields.dmin, dmin[s])
            _pack_scales(block, fields.scales, rounded_scales, rounded_mins, s)
            for pair in range(4):
                start, lane = blocks[s] * 256 + 64 * pair, 2 * pair * COUNT + s
                low = _quantize(x, importance, start, scales, mins, inverses, lows, lane, top)
                high = _quantize(x, importance, start + 32, scales, mins, inverses, lows, lane + COUNT, top)
                _pack_quants(block, fields.qs, qh, pair, low, high)
    return True


@inline
def search_reference(tile, w, quants, top, squares, importance, blocks, needs_exact, exact, settings, result):
    """Scales and minimums of the sub-blocks in ``tile`` without importance, first alone and then rounded.

    ``squares``: the sums of their weights' squares; ``blocks``: the super-blocks' numbers; ``settings``: ``rmin``,
    ``rdelta``, ``nstep`` of ``search_scale_min``.  Fills ``result``: each lane's scale and minimum as rounded, the
    inverse and the low of its own search, six-bit scales and minimums, the super-blocks' factors as binary16.  Sets
    ``needs_exact`` of super-blocks that may differ from ggml's, which none does when ``exact``.
    """
    scales, mins, _, _, rounded_scales, rounded_mins, d, dmin = result
    mark(search_unrounded(tile, w, quants, top, squares, exact, settings, result), blocks, needs_exact)
    round_scales(scales, rounded_scales, d)
    round_scales(mins, rounded_mins, dmin)


@inline
def mark(chosen, blocks, flags):
    """Sets ``flags`` of the super-blocks of lanes in ``chosen``."""
    if any_lane(chosen):
        marks = scratch(LANES, i32)
        store(marks, 0, select(chosen, to_int(splat(1.0, LANES)), 0))
        for k in range(LANES):
            if marks[k] != 0:
                flags[blocks[k % COUNT]] = 1


@inline
def search_unrounded(tile, w, quants, top, squares, exact, settings, result):
    """``search_reference`` without rounding; ``w`` is filled with the error weights.

    Returns the lanes that need ``exact``.
    """
    rmin, rdelta, nstep = settings
    mean = lanes.sqrt(squares / 32.0)
    for i in range(32):
        store(w, i * LANES, mean + lanes.abs(load(tile, i * LANES, LANES)))
    scale, minimum, inverse, low, needs_exact = search_scale_min(
        tile, w, quants, 32, top, rmin, rdelta, nstep, False, exact
    )
    _keep(result, scale, minimum, inverse, low)
    return needs_exact


@inline
def search_important(tile, w, quants, top, squares, importance, blocks, needs_exact, exact, settings, result):
    """As ``search_reference`` with importance; ``settings``: the greatest scale kept, as an integer."""
    starts, sums = scratch(LANES, INDEX), scratch(LANES, f32)
    scales, mins, _, _, rounded_scales, rounded_mins, d, dmin = result
    find_importance(starts, blocks, importance.size, 8)
    gather(importance, starts, 32, w)
    store(sums, 0, weigh(tile, w, 32, repeat_all(_sum_of_squares(tile) * 2.0 / 256.0, 8)))
    scale, minimum, inverse, low = search_weighted(tile, w, quants, 32, top)
    _keep(result, scale, minimum, inverse, low)
    _round_by_search(scales, sums, quants, rounded_scales, d, settings)
    _round_by_search(mins, sums, quants, rounded_mins, dmin, settings)


@inline
def _keep(result, scale, minimum, inverse, low):
    scales, mins, inverses, lows, _, _, _, _ = result
    store(scales, 0, scale)
    store(mins, 0, -minimum)
    store(inverses, 0, inverse)
    store(lows, 0, low)


@outlined
def round_scales(values, rounded, halves):
    """Six-bit ``rounded`` of each lane and the super-blocks' factor as binary16; ``values`` become what these say."""
    greatest = splat(0.0, COUNT)
    for j in range(8):
        v = load(values, j * COUNT, COUNT)
        greatest = select(v > greatest, v, greatest)
    inverse = select(greatest > 0.0, 63.0 / greatest, 0.0)
    factor = to_half(greatest / 63.0)
    store(halves, 0, factor)
    for j in range(8):
        # ggml keeps the low byte before it takes the lesser: negative scales become 63
        v = to_int(nearest(inverse * load(values, j * COUNT, COUNT), True)) & 0xFF
        v = lanes.min(v, 63)
        store(rounded, j * COUNT, v)
        store(values, j * COUNT, from_half(factor) * to_float(v))


@outlined
def _round_by_search(values, sums, quants, rounded, halves, kept):
    """As ``round_scales``, ``sums`` being the error weights of sub-blocks; ``kept``: the mask of bits kept."""
    factor = to_half(_search_positive(values, sums, quants, 8, 63))
    store(halves, 0, factor)
    for j in range(8):
        v = to_int(load(quants, j * COUNT, COUNT))
        store(rounded, j * COUNT, lanes.min(v, kept))
    for j in range(8):
        v = load(rounded, j * COUNT, COUNT)
        # what is read back: what is above 63, of negative scales, spills into a neighbour's upper bits
        spilt = load(rounded, max(j - 4, 0) * COUNT, COUNT) >> 6
        v = v & 63 if j < 4 else (v & 15) | ((spilt | v >> 4) & 3) << 4
        store(values, j * COUNT, from_half(factor) * to_float(v))


@inline
def _quantize(x, importance, start, scales, mins, inverses, lows, k, top):
    """Quants of the 32 weights of lane ``k``: by the rounded scale, or the search's own where that is 0."""
    v = as_float(load(x, start, 32))
    if scales[k] != 0.0:
        v = (v + mins[k]) / scales[k]
    else:
        v = inverses[k] * (v - lows[k])
        if importance is not None:
            v = quantize(v, top)
    return lanes.max(lanes.min(to_nearest(v), top), 0)


@inline
def _pack_scales(block, at_scales, scales, mins, s):
    """Scales and mins of super-block ``s`` in 12 bytes: the upper two bits of the last four of each lie above the first
    four's six."""
    for j in range(4):
        scale, scale4 = scales[j * COUNT + s], scales[(j + 4) * COUNT + s]
        low, low4 = mins[j * COUNT + s], mins[(j + 4) * COUNT + s]
        block[at_scales + j] = scale | (scale4 >> 4) << 6
        block[at_scales + 4 + j] = low | (low4 >> 4) << 6
        block[at_scales + 8 + j] = (scale4 & 15) | (low4 & 15) << 4


@inline
def _unpack_scales(block, at_scales, j):
    """Scale and min of sub-block ``j``."""
    at_min = at_scales + 4
    if j < 4:
        return block[at_scales + j] & 63, block[at_min + j] & 63
    low = block[at_min + j]
    return (low & 15) | (block[at_scales + j - 4] >> 6) << 4, (low >> 4) | (block[at_min + j - 4] >> 6) << 4


@inline
def _pack_quants(block, qs, qh, pair, low, high):
    """The quants of sub-blocks ``2 * pair`` and ``2 * pair + 1``, int32, their fifth bits apart if there are such."""
    if qh is not None:
        fifths = narrow(low >> 4 << 2 * pair | high >> 4 << 2 * pair + 1)
        store(block, qh, fifths if pair == 0 else fifths | load(block, qh, 32))
        low, high = low & 15, high & 15
    store(block, qs + 32 * pair, narrow(low | high << 4))


@inline
def decode_blocks(blocks, out, fields, qh):
    for i in range(blocks.size // fields.end):
        block = at(blocks, i * fields.end)
        d, dmin = half(block, fields.d), half(block, fields.dmin)
        for j in range(8):
            scale, minimum = _unpack_scales(block, fields.scales, j)
            both = load(block, fields.qs + 32 * (j >> 1), 32)
            q = both >> 4 if j & 1 else both & 15
            if qh is not None:
                q = q | (load(block, qh, 32) >> j & 1) << 4
            store(out, i * 256 + 32 * j, to_float(widen(q)) * (d * np.float32(scale)) - dmin * np.float32(minimum))
