"""What Q4_0, Q4_1, Q5_0 and Q5_1 share: blocks of 32 weights with 4 or 5 bits each.

Without importance there is no search: 16 blocks at a time, extremes are found side by side and each block is quantized
on its own.  With importance a lane is a block.
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import intrinsic
from numpy.typing import NDArray

from qconv.blocks.compile import flat, kernel
from qconv.blocks.groups import PLACE
from qconv.blocks.lanes import (
    LANES,
    any_lane,
    at,
    bits,
    f32,
    inline,
    load,
    narrow,
    part,
    root,
    scratch,
    splat,
    store,
    u8,
    u16,
)
from qconv.blocks.tiles import INFINITY, gather, gather_lanes, put_half, turn_back
from qconv.blocks.vectors import Vector, vector_type

TILE = 32 * LANES
_HALF_TILE = 16 * LANES


@intrinsic
def _mask_bytes(typing, mask):
    """A mask as bytes of eight lanes, the first lane lowest."""
    kind = Vector(u8, mask.n // 8)
    return kind(mask), lambda context, builder, signature, values: builder.bitcast(values[0], vector_type(kind))


@inline
def pack(out, begin, level, fifth):
    """32 levels, int32, as bytes: ``fifth`` bits first if there are such, then 4 bits each."""
    low, high = part(level, 0, 16), part(level, 16, 16)
    if fifth:
        store(out, begin, _mask_bytes((level & 16) != 0))
        begin += 4
        low, high = low & 15, high & 15
    store(out, begin, narrow(low | high << 4))


def row_means(rows: NDArray[Any]) -> NDArray[np.float32]:
    """The mean square of each row, summed in order."""
    means = np.empty(len(rows), np.float32)
    _row_means(flat(rows), rows.shape[1], means)
    return means


@kernel
def _row_means(rows, columns, means):
    places, tile, here = scratch(16, PLACE), scratch(256, f32), scratch(16, f32)
    for first in range(0, means.size, 16):
        count = min(16, means.size - first)
        for k in range(16):
            places[k] = (first + min(k, count - 1)) * columns
        total = splat(0.0, 16)
        for _ in range(0, columns, 16):
            gather_lanes(rows, places, 16, tile, 16)
            for k in range(16):
                places[k] += 16
            for step in range(16):
                v = load(tile, step * 16, 16)
                total = total + v * v
        store(here, 0, total / np.float32(columns))
        for k in range(count):
            means[first + k] = here[k]


@inline
def gather_weighed(rows, importance, means, block, x, weights):
    """Tiles of LANES blocks from number ``block`` on (the last one again where there are no more), and what each
    weight's error counts: importance * sqrt(mean square of the row + weight**2).

    Returns whether all weights are finite.
    """
    places, columns, mean = scratch(LANES, PLACE), scratch(LANES, PLACE), scratch(LANES, f32)
    last, per_row = rows.size // 32 - 1, importance.size // 32
    row, column = block // per_row, block % per_row
    for k in range(LANES):
        places[k], columns[k], mean[k] = min(block + k, last) * 32, column * 32, means[row]
        if block + k < last:
            column += 1
            if column == per_row:
                row, column = row + 1, 0
    gather(rows, places, 32, x)
    gather(importance, columns, 32, weights)
    largest = bits(splat(0.0, LANES))
    for i in range(32):
        v = load(x, i * LANES, LANES)
        largest = largest | (bits(v * 0.0) & INFINITY)  # NaN for infinity and NaN
        w = load(weights, i * LANES, LANES) * root(load(mean, 0, LANES) + v * v)
        store(weights, i * LANES, w)
    return not any_lane(largest >= INFINITY)


@inline
def write_levels(levels, out, block, count, block_bytes, scale, minimum):
    """Writes the first ``count`` of LANES blocks: ``levels``, a tile of bytes, behind ``scale`` and, if given,
    ``minimum``, uint16 lanes."""
    low, quants = scratch(_HALF_TILE, u8), scratch(_HALF_TILE, u8)
    scales, mins = scratch(LANES, u16), scratch(LANES, u16)
    store(scales, 0, scale)
    if minimum is not None:
        store(mins, 0, minimum)
    headers = 2 if minimum is None else 4
    fifth = block_bytes > headers + 16
    for i in range(16):
        even, odd = load(levels, i * LANES, LANES), load(levels, (i + 16) * LANES, LANES)
        store(low, i * LANES, (even & 15) | odd << 4)
    turn_back(low, quants, 0, 16)
    for k in range(count):
        begin = at(out, (block + k) * block_bytes)
        put_half(begin, 0, scales[k])
        if minimum is not None:
            put_half(begin, 2, mins[k])
        if fifth:
            for n in range(4):
                high = 0
                for i in range(8):
                    high |= (levels[(8 * n + i) * LANES + k] >> 4) << i
                begin[headers + n] = high
        store(begin, block_bytes - 16, load(quants, k * 16, 16))
