"""Q6_K: super-blocks of 16 sub-blocks of 16 weights, 8-bit scales and 6-bit quants.

A lane is a sub-block, and ``_COUNT`` super-blocks are worked on at once (see ``groups``).
"""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks import lanes
from qconv.blocks.codec import Decoder, EncodeContext, flat
from qconv.blocks.compile import kernel
from qconv.blocks.groups import INDEX, find_importance, find_super_blocks
from qconv.blocks.lanes import (
    LANES,
    any_lane,
    as_float,
    at,
    bits,
    f32,
    floats,
    from_half,
    i32,
    inline,
    load,
    narrow,
    repeat_all,
    repeat_each,
    scratch,
    select,
    splat,
    store,
    to_float,
    to_half,
    u16,
    widen,
)
from qconv.blocks.layout import offsets
from qconv.blocks.search.scale import search_scale
from qconv.blocks.tiles import (
    EPSILON,
    finite,
    gather,
    larger,
    prefetch_weights,
    put_uint16,
    to_nearest,
    without_nan,
)
from qconv.blocks.unpack import half, signed
from qconv.types import SEARCHES

_FIELDS = offsets("Q6_K")
_COUNT = LANES // 16
_TILE = 16 * LANES


class _Codec(Decoder):
    searches = SEARCHES[:1]

    def encode(self, rows: NDArray[Any], context: EncodeContext, out: NDArray[np.uint8]) -> bool:
        return bool(_encode(flat(rows), context.importance, out.reshape(-1)))


@kernel("Q6_K")
def _encode(x, importance, out):
    count = x.size // 256
    tile, w = scratch(_TILE, f32), scratch(_TILE, f32)
    blocks, starts = scratch(_COUNT, INDEX), scratch(LANES, INDEX)
    scales, inverses, shifts = scratch(LANES, f32), scratch(LANES, f32), scratch(LANES, f32)
    rounded, halves = scratch(LANES, i32), scratch(_COUNT, u16)
    for base in range(0, count, _COUNT):
        here = min(_COUNT, count - base)
        find_super_blocks(blocks, starts, base, here, None, 16)
        gather(x, starts, 16, tile)
        if importance is not None:
            find_importance(starts, blocks, importance.size, 16)
            gather(importance, starts, 16, w)
        scale, inverse, largest = search_scale(tile, w, importance is None, 16, 32, False)
        if not finite(largest):
            return False
        nothing = floats(largest) < EPSILON
        store(scales, 0, scale)
        store(inverses, 0, select(nothing, 0.0, inverse))
        store(shifts, 0, select(nothing, splat(-32.0, LANES), 0.0))  # ggml leaves the quants of such a sub-block at -32
        _round(scales, inverses, shifts, rounded, halves)
        for s in range(here):
            prefetch_weights(x, (blocks[s] + 2 * _COUNT) * 256, 256)
            _write(x, blocks[s], s, scales, inverses, shifts, rounded, halves, out)
    return True


@inline
def _round(values, inverses, shifts, rounded, halves):
    """Eight-bit ``rounded`` of each lane and the super-blocks' factor as binary16; ``values`` become what these say."""
    largest, extreme = bits(splat(0.0, _COUNT)), splat(0.0, _COUNT)
    for j in range(16):
        largest, extreme = larger(without_nan(load(values, j * _COUNT, _COUNT)), largest, extreme)
    nothing = floats(largest) < EPSILON
    inverse = -128.0 / extreme
    half = to_half(select(nothing, 0.0, 1.0 / inverse))
    store(halves, 0, half)
    v = lanes.min(to_nearest(repeat_all(inverse, 16) * load(values, 0, LANES)), 127)
    v = ((select(repeat_all(nothing, 16), 0, v) & 0xFF) ^ 0x80) - 0x80  # ggml keeps the low byte, signed
    store(rounded, 0, v)
    store(values, 0, repeat_all(from_half(half), 16) * to_float(v))
    if any_lane(nothing):  # ggml clears such a super-block, whose quants are then -32
        for j in range(16):
            store(inverses, j * _COUNT, select(nothing, 0.0, load(inverses, j * _COUNT, _COUNT)))
            store(shifts, j * _COUNT, select(nothing, splat(-32.0, _COUNT), load(shifts, j * _COUNT, _COUNT)))


@inline
def _write(x, number, s, scales, inverses, shifts, rounded, halves, out):
    block = at(out, number * _FIELDS.end)
    for upper in range(2):
        for side in range(2):
            start, k, low = number * 256 + 128 * upper + 16 * side, 8 * upper + side, 64 * upper + 16 * side
            q0 = _quantize(x, start, k * _COUNT + s, scales, inverses, shifts)
            q1 = _quantize(x, start + 32, (k + 2) * _COUNT + s, scales, inverses, shifts)
            q2 = _quantize(x, start + 64, (k + 4) * _COUNT + s, scales, inverses, shifts)
            q3 = _quantize(x, start + 96, (k + 6) * _COUNT + s, scales, inverses, shifts)
            store(block, _FIELDS.ql + low, narrow(q0 & 15 | q2 << 4))
            store(block, _FIELDS.ql + low + 32, narrow(q1 & 15 | q3 << 4))
            high = q0 >> 4 & 3 | q1 >> 2 & 12 | q2 & 48 | q3 << 2 & 192
            store(block, _FIELDS.qh + 32 * upper + 16 * side, narrow(high ^ 0xAA))
    for j in range(16):
        block[_FIELDS.scales + j] = rounded[j * _COUNT + s]
    put_uint16(block, _FIELDS.d, halves[s])


@inline
def _quantize(x, start, k, scales, inverses, shifts):
    """Quants of the 16 weights of lane ``k``: by the rounded scale, or the search's own where that is 0."""
    v = as_float(load(x, start, 16))
    v = v / scales[k] if scales[k] != 0.0 else v * inverses[k] + shifts[k]
    return lanes.max(lanes.min(to_nearest(v), 31), -32)


@kernel("Q6_K")
def _decode(blocks, out):
    scales = scratch(16, f32)
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        store(scales, 0, to_float(signed(load(block, _FIELDS.scales, 16))) * half(block, _FIELDS.d))
        for j in range(8):  # 32 weights, two sub-blocks
            low = load(block, _FIELDS.ql + 64 * (j >> 2) + 32 * (j & 1), 32)
            high = load(block, _FIELDS.qh + 32 * (j >> 2), 32) >> 2 * (j & 3) & 3
            q = to_float(widen((low >> 4 if j & 2 else low & 15) | high << 4) - 32)
            store(out, i * 256 + 32 * j, q * repeat_each(load(scales, 2 * j, 2), 16))


CODEC = _Codec("Q6_K", _decode)
