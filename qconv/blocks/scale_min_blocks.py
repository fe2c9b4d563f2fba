"""What Q4_K and Q5_K share: super-blocks of 8 sub-blocks of 32, each with a 6-bit scale and a 6-bit minimum.

A lane is a sub-block; ``TOGETHER`` super-blocks are worked on at once, and lane ``j * TOGETHER + s`` is sub-block ``j``
of super-block ``s``.
"""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from numba import types

from qconv.blocks.groups import find_blocks, find_importance, mark_doubtful
from qconv.blocks.lanes import (
    LANES,
    any_lane,
    as_float,
    at,
    called,
    f32,
    from_half,
    i32,
    inline,
    least,
    load,
    most,
    repeated,
    root,
    scratch,
    select,
    size,
    splat,
    store,
    to_float,
    to_half,
    to_int,
    u16,
)
from qconv.blocks.search_important import level_between, search_important
from qconv.blocks.search_positive import positive_search
from qconv.blocks.search_scale_min import search_scale_min
from qconv.blocks.tiles import (
    LARGEST,
    fetch_ahead,
    gather,
    nearest,
    put_half,
    sum_of_squares,
    tile_is_finite,
    to_nearest,
)

TOGETHER = LANES // 8
_TILE = 32 * LANES
_search_positive = positive_search(TOGETHER)


@inline
def encode_blocks(x, importance, out, doubtful, redo, block_bytes, top, pack, search, settings):
    """Encodes all super-blocks of ``x``, or with ``redo`` those of these numbers, by ggml's own rounding.

    ``top``: the greatest level.  ``pack(out, o, pair, low, high)`` writes the levels of sub-blocks ``2 * pair`` and
    ``2 * pair + 1`` into the block at ``out[o]``.  ``search`` is ``search_plainly`` or a function like it, with its
    ``settings``.  ``doubtful``: uint8 a super-block, set where the fast rounding may differ from ggml's.  False when a
    weight is not finite.
    """
    exact = redo is not None
    count = x.size // 256 if redo is None else redo.size
    tile, w, levels = scratch(_TILE, f32), scratch(_TILE, f32), scratch(_TILE, f32)
    blocks, starts = scratch(TOGETHER, types.int64), scratch(LANES, types.int64)
    scales, mins, inverses, lows = scratch(LANES, f32), scratch(LANES, f32), scratch(LANES, f32), scratch(LANES, f32)
    rounded_scales, rounded_mins = scratch(LANES, i32), scratch(LANES, i32)
    d_bits, dmin_bits = scratch(TOGETHER, u16), scratch(TOGETHER, u16)
    for base in range(0, count, TOGETHER):
        here = min(TOGETHER, count - base)
        find_blocks(blocks, starts, base, here, redo, 8)
        gather(x, starts, 32, tile)
        squares = sum_of_squares(tile, 32)
        if any_lane(~(squares <= LARGEST)) and not tile_is_finite(tile, 32):
            return False
        found = (scales, mins, inverses, lows, rounded_scales, rounded_mins, d_bits, dmin_bits)
        search(tile, w, levels, top, squares, importance, blocks, doubtful, exact, settings, found)
        for s in range(here):
            fetch_ahead(x, (blocks[s] + 2 * TOGETHER) * 256, 256)
            o = blocks[s] * block_bytes
            _write_header(at(out, o), d_bits[s], dmin_bits[s], rounded_scales, rounded_mins, s)
            for pair in range(4):
                start, lane = blocks[s] * 256 + 64 * pair, 2 * pair * TOGETHER + s
                low = _levels(x, importance, start, scales, mins, inverses, lows, lane, top)
                high = _levels(x, importance, start + 32, scales, mins, inverses, lows, lane + TOGETHER, top)
                pack(out, o, pair, low, high)
    return True


@inline
def search_plainly(tile, w, levels, top, squares, importance, blocks, doubtful, exact, settings, found):
    """Scales and minimums of the sub-blocks in ``tile`` without importance, first alone and then rounded.

    ``squares``: the sums of their weights' squares; ``blocks``: the super-blocks' numbers; ``settings``: ``first``,
    ``grain``, ``tries`` of ``search_scale_min``.  Fills ``found``: each lane's scale and minimum as rounded, the
    inverse and the low of its own search, six-bit scales and minimums, the super-blocks' factors as binary16.  Marks
    super-blocks that may differ from ggml's, which none does when ``exact``.
    """
    scales, mins, _, _, rounded_scales, rounded_mins, d_bits, dmin_bits = found
    mark_doubtful(search_unrounded(tile, w, levels, top, squares, exact, settings, found), blocks, doubtful, 8)
    round_scales(scales, rounded_scales, d_bits)
    round_scales(mins, rounded_mins, dmin_bits)


@inline
def search_unrounded(tile, w, levels, top, squares, exact, settings, found):
    """``search_plainly`` without rounding, the doubtful lanes returned; ``w``: filled with what errors weigh."""
    first, grain, tries = settings
    scales, mins, inverses, lows, _, _, _, _ = found
    mean = root(squares / 32.0)
    for i in range(32):
        store(w, i * LANES, mean + size(load(tile, i * LANES, LANES)))
    scale, minimum, inverse, low, doubtful = search_scale_min(
        tile, w, levels, 32, top, first, grain, tries, False, exact
    )
    _keep(scales, mins, inverses, lows, scale, minimum, inverse, low)
    return doubtful


@inline
def search_weighed(tile, w, levels, top, squares, importance, blocks, doubtful, exact, settings, found):
    """As ``search_plainly`` with importance; ``settings``: the greatest scale kept, as an integer."""
    starts, sums = scratch(LANES, types.int64), scratch(LANES, f32)
    scales, mins, inverses, lows, rounded_scales, rounded_mins, d_bits, dmin_bits = found
    find_importance(starts, blocks, importance.size, 8)
    gather(importance, starts, 32, w)
    store(sums, 0, _weigh(tile, w))
    scale, minimum, inverse, low = search_important(tile, w, levels, 32, top)
    _keep(scales, mins, inverses, lows, scale, minimum, inverse, low)
    _round_by_search(scales, sums, levels, rounded_scales, d_bits, settings)
    _round_by_search(mins, sums, levels, rounded_mins, dmin_bits, settings)


@inline
def _keep(scales, mins, inverses, lows, scale, minimum, inverse, low):
    store(scales, 0, scale)
    store(mins, 0, -minimum)
    store(inverses, 0, inverse)
    store(lows, 0, low)


@called
def round_scales(values, rounded, halves):
    """Six-bit ``rounded`` of each lane and the super-blocks' factor as binary16; ``values`` become what these say."""
    greatest = splat(0.0, TOGETHER)
    for j in range(8):
        v = load(values, j * TOGETHER, TOGETHER)
        greatest = select(v > greatest, v, greatest)
    inverse = select(greatest > 0.0, 63.0 / greatest, 0.0)
    half = to_half(greatest / 63.0)
    store(halves, 0, half)
    for j in range(8):
        # ggml keeps the low byte before it takes the lesser: negative scales become 63
        v = to_int(nearest(inverse * load(values, j * TOGETHER, TOGETHER), True)) & 0xFF
        v = least(v, 63)
        store(rounded, j * TOGETHER, v)
        store(values, j * TOGETHER, from_half(half) * to_float(v))


@called
def _round_by_search(values, sums, levels, rounded, halves, kept):
    """As ``round_scales``, where ``sums`` says what each sub-block's error counts; ``kept``: the mask of bits kept."""
    half = to_half(_search_positive(values, sums, levels, 8, 63))
    store(halves, 0, half)
    for j in range(8):
        v = to_int(load(levels, j * TOGETHER, TOGETHER))
        store(rounded, j * TOGETHER, least(v, kept))
    for j in range(8):
        v = load(rounded, j * TOGETHER, TOGETHER)
        # what is read back: levels above 63, of negative scales, spill into a neighbour's upper bits
        spilt = load(rounded, max(j - 4, 0) * TOGETHER, TOGETHER) >> 6
        v = v & 63 if j < 4 else (v & 15) | ((spilt | v >> 4) & 3) << 4
        store(values, j * TOGETHER, from_half(half) * to_float(v))


@inline
def _weigh(tile, w):
    """Turns importance into what each weight's error counts, importance * sqrt(2 * mean square + weight**2).

    The mean is over the super-block, added up in order.  Returns the sums of each sub-block.
    """
    squares = splat(0.0, TOGETHER)
    for j in range(8):
        for i in range(32):
            v = load(tile, i * LANES + j * TOGETHER, TOGETHER)
            squares = squares + v * v
    mean = repeated(squares * 2.0 / 256.0, 8)
    total = splat(0.0, LANES)
    for i in range(32):
        v = load(tile, i * LANES, LANES)
        weight = load(w, i * LANES, LANES) * root(mean + v * v)
        store(w, i * LANES, weight)
        total = total + weight
    return total


@inline
def _levels(x, importance, start, scales, mins, inverses, lows, k, top):
    """Levels of the 32 weights of lane ``k``: by the rounded scale, or the search's own where that is 0."""
    v = as_float(load(x, start, 32))
    if scales[k] != 0.0:
        v = (v + mins[k]) / scales[k]
    else:
        v = inverses[k] * (v - lows[k])
        if importance is not None:
            v = level_between(v, top)
    return most(least(to_nearest(v), top), 0)


@inline
def _write_header(block, d, dmin, scales, mins, s):
    """Factors, then scales and mins of super-block ``s`` in 12 bytes: the upper two bits of the last four of each lie
    above the first four's six."""
    put_half(block, 0, d)
    put_half(block, 2, dmin)
    for j in range(4):
        scale, scale4 = scales[j * TOGETHER + s], scales[(j + 4) * TOGETHER + s]
        low, low4 = mins[j * TOGETHER + s], mins[(j + 4) * TOGETHER + s]
        block[4 + j] = scale | (scale4 >> 4) << 6
        block[8 + j] = low | (low4 >> 4) << 6
        block[12 + j] = (scale4 & 15) | (low4 & 15) << 4
