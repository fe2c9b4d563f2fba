"""IQ4_XS: super-blocks of 8 sub-blocks of 32 weights, 6-bit scales and 4-bit indices of 16 uneven values."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.compile import kernel
from qconv.blocks.groups import PLACE, encode_groups, find
from qconv.blocks.lanes import (
    LANES,
    at,
    f32,
    i32,
    inline,
    join,
    least,
    load,
    most,
    narrow,
    repeat,
    scratch,
    select,
    size,
    splat,
    store,
    to_float,
    to_half,
    u8,
    u16,
    widen,
)
from qconv.blocks.tiles import gather, put_half, to_nearest, turn_back
from qconv.blocks.uneven import VALUES, finite, nearest_index, pick, search, weigh, weigh_by_square
from qconv.blocks.unpack import half

_BYTES = 136
_COUNT = LANES // 8
"""Super-blocks in a group."""
_MEMORY = 32 * LANES
_HALF_MEMORY = 16 * LANES
_TABLE = tuple(value + 128 for value in VALUES)
_NIBBLES = np.array([0, 4] * 4, np.uint8)
_PAIRS = np.arange(0, 16, 2, dtype=np.int32)


def encode_rows(
    rows: NDArray[Any], importance: NDArray[np.float32] | None, out: NDArray[np.uint8], search: str
) -> bool:
    """See ``qconv.blocks``."""
    return encode_groups(_encode, rows, importance, out, 32 * LANES)


def decode_rows(blocks: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """See ``qconv.blocks``."""
    _decode(blocks.reshape(-1), blocks.reshape(-1).view(np.uint16), out.reshape(-1))


@inline
def _sum_of_squares(x, squares):
    """``squares``: each super-block's sum of squares, in order, for all of its lanes."""
    total = splat(0.0, _COUNT)
    for part in range(8):
        for i in range(32):
            v = load(x, i * LANES + part * _COUNT, _COUNT)
            total = total + v * v
    for part in range(8):
        store(squares, part * _COUNT, total)


@inline
def _super_scale(scales, supers):
    """``supers``: each super-block's scale, which makes the largest of its sub-blocks' -32, for all of its lanes."""
    largest, extreme = splat(0.0, _COUNT), splat(0.0, _COUNT)
    for part in range(8):
        v = load(scales, part * _COUNT, _COUNT)
        larger = size(v) > largest
        largest, extreme = select(larger, size(v), largest), select(larger, v, extreme)
    for part in range(8):
        store(supers, part * _COUNT, -extreme / 32.0)


@kernel
def _encode(rows, importance, first, out):
    places = scratch(LANES, PLACE)
    x, weights = scratch(_MEMORY, f32), scratch(_MEMORY, f32)
    scales, supers = scratch(LANES, f32), scratch(LANES, f32)
    levels, halves = scratch(LANES, i32), scratch(LANES, u16)
    packed, quants = scratch(_HALF_MEMORY, u8), scratch(_HALF_MEMORY, u8)
    for start in range(0, rows.size, 32 * LANES):
        find(places, start, rows.size, 8, 32)
        gather(rows, places, 32, x)
        if importance is None:
            weigh_by_square(x, weights)
        else:
            find(places, first + start, importance.size, 8, 32)
            gather(importance, places, 32, weights)
            _sum_of_squares(x, scales)
            weigh(x, weights, load(scales, 0, LANES) * (2 / 256))
        scale, largest = search(x, weights)
        if not finite(largest):
            return False
        store(scales, 0, scale)
        _super_scale(scales, supers)
        d = load(supers, 0, LANES)
        level = least(most(to_nearest(select(d != 0.0, 1.0 / d, 0.0) * scale), -32), 31)
        scale = d * to_float(level)
        inverse = select(scale != 0.0, 1.0 / scale, 0.0)
        for i in range(16):
            low = nearest_index(inverse * load(x, i * LANES, LANES))
            high = nearest_index(inverse * load(x, (i + 16) * LANES, LANES))
            store(packed, i * LANES, narrow(low | high << 4))
        turn_back(packed, quants, 0, 16)
        store(levels, 0, level + 32)
        store(halves, 0, to_half(d))
        for number in range(_COUNT):
            _write(at(out, (start // 256 + number) * _BYTES), number, halves, levels, quants)
    return True


@inline
def _write(block, number, halves, levels, quants):
    """Super-block ``number`` of the group as bytes."""
    put_half(block, 0, halves[number])
    high = 0
    for part in range(0, 8, 2):
        even, odd = levels[part * _COUNT + number], levels[(part + 1) * _COUNT + number]
        high |= (even >> 4 | odd >> 4 << 2) << 2 * part
        block[4 + part // 2] = even & 15 | (odd & 15) << 4
    put_half(block, 2, high)
    for part in range(8):
        store(block, 8 + 16 * part, load(quants, (part * _COUNT + number) * 16, 16))


@kernel
def _decode(blocks, halves, out):
    scales = scratch(8, f32)
    for i in range(blocks.size // _BYTES):
        at, at_half = i * _BYTES, i * _BYTES // 2
        low = repeat(load(blocks, at + 4, 4), 2) >> load(_NIBBLES, 0, 8) & 15
        high = repeat(widen(load(halves, at_half + 1, 1)), 8) >> load(_PAIRS, 0, 8) & 3
        store(scales, 0, to_float((widen(low) | high << 4) - 32) * half(halves, at_half))
        for part in range(8):
            q = load(blocks, at + 8 + 16 * part, 16)
            values = widen(pick(join(q & 15, q >> 4), _TABLE)) - 128
            store(out, i * 256 + 32 * part, to_float(values) * scales[part])
