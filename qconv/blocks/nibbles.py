"""What Q4_0, Q4_1, Q5_0 and Q5_1 share: blocks of 32 weights with 4 or 5 bits each.

Without importance there is no search (``round_to_nearest``).  With importance a lane is a block.
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import intrinsic
from numpy.typing import NDArray

from qconv.blocks.codec import Decoder, EncodeContext, flat
from qconv.blocks.compile import kernel
from qconv.blocks.groups import INDEX, encode_groups
from qconv.blocks.lanes import LANES, at, f32, inline, join, load, narrow, part, scratch, splat, store, u8, u16, widen
from qconv.blocks.lanes.vectors import Vector, vector_type
from qconv.blocks.round_to_nearest import GROUP
from qconv.blocks.tiles import finite, gather, gather_lanes, largest_magnitude, put_uint16, scatter_bytes, weigh
from qconv.blocks.unpack import spread_bits
from qconv.types import SEARCHES

TILE = 32 * LANES
_HALF_TILE = 16 * LANES


class NibbleCodec(Decoder):
    """``encode(rows, importance, first, out)`` takes no importance, as a kernel of ``groups``;
    ``encode_important(rows, importance, means, out)`` the mean square of each row besides."""

    searches = SEARCHES[:1]

    def __init__(self, block_type: str, encode: Any, encode_important: Any, decode: Any) -> None:
        super().__init__(block_type, decode)
        self._encode, self._encode_important = encode, encode_important

    def encode(self, rows: NDArray[Any], context: EncodeContext, out: NDArray[np.uint8]) -> bool:
        if context.importance is None:
            return encode_groups(self._encode, rows, None, out, GROUP)
        return bool(self._encode_important(flat(rows), context.importance, _row_means(rows), out.reshape(-1)))


def _row_means(rows: NDArray[Any]) -> NDArray[np.float32]:
    """The mean square of each row, summed in order."""
    means = np.empty(len(rows), np.float32)
    _sum_rows(flat(rows), rows.shape[1], means)
    return means


@kernel("nibbles")
def _sum_rows(rows, columns, means):
    starts, tile, here = scratch(16, INDEX), scratch(256, f32), scratch(16, f32)
    for first in range(0, means.size, 16):
        count = min(16, means.size - first)
        for k in range(16):
            starts[k] = (first + min(k, count - 1)) * columns
        total = splat(0.0, 16)
        for _ in range(0, columns, 16):
            gather_lanes(rows, starts, 16, tile, 16)
            for k in range(16):
                starts[k] += 16
            for step in range(16):
                v = load(tile, step * 16, 16)
                total = total + v * v
        store(here, 0, total / np.float32(columns))
        for k in range(count):
            means[first + k] = here[k]


@inline
def gather_weighted(rows, importance, means, block, x, w):
    """Fills ``x`` with LANES blocks from number ``block`` on, the last one again where there are no more, and ``w``
    with their error weights, by the mean square of the row.

    Returns whether all weights are finite.
    """
    starts, columns, mean = scratch(LANES, INDEX), scratch(LANES, INDEX), scratch(LANES, f32)
    last, per_row = rows.size // 32 - 1, importance.size // 32
    row, column = block // per_row, block % per_row
    for k in range(LANES):
        starts[k], columns[k], mean[k] = min(block + k, last) * 32, column * 32, means[row]
        if block + k < last:
            column += 1
            if column == per_row:
                row, column = row + 1, 0
    gather(rows, starts, 32, x)
    gather(importance, columns, 32, w)
    weigh(x, w, 32, load(mean, 0, LANES))
    return finite(largest_magnitude(x, 32))


@intrinsic
def _mask_bytes(typing, mask):
    """A mask as bytes of eight lanes, the first lane lowest."""
    kind = Vector(u8, mask.n // 8)
    return kind(mask), lambda context, builder, signature, values: builder.bitcast(values[0], vector_type(kind))


@inline
def pack(block, q, qs, qh):
    """Stores 32 quants, int32, as 4 bits each at ``qs``, their fifth bits at ``qh`` if there are such."""
    low, high = part(q, 0, 16), part(q, 16, 16)
    if qh is not None:
        store(block, qh, _mask_bytes((q & 16) != 0))
        low, high = low & 15, high & 15
    store(block, qs, narrow(low | high << 4))


@inline
def unpack(block, qs, qh):
    """The reverse: 32 quants as int32."""
    both = load(block, qs, 16)
    q = join(both & 15, both >> 4)
    if qh is not None:
        q = q | spread_bits(block, qh, 16)
    return widen(q)


@inline
def pack_tile(quants, out, k, count, fields, qh, scale, minimum):
    """Writes blocks ``k`` to ``k + count`` from the first lanes of ``quants``, a tile of bytes, and of ``scale`` and
    ``minimum`` (or None), uint16."""
    nibbles, packed = scratch(_HALF_TILE, u8), scratch(_HALF_TILE, u8)
    scales, mins = scratch(LANES, u16), scratch(LANES, u16)
    store(scales, 0, scale)
    if minimum is not None:
        store(mins, 0, minimum)
    for i in range(16):
        low, high = load(quants, i * LANES, LANES), load(quants, (i + 16) * LANES, LANES)
        store(nibbles, i * LANES, (low & 15) | high << 4)
    scatter_bytes(nibbles, packed, 0, 16)
    for lane in range(count):
        block = at(out, (k + lane) * fields.end)
        put_uint16(block, fields.d, scales[lane])
        if minimum is not None:
            put_uint16(block, fields.m, mins[lane])
        if qh is not None:
            for n in range(4):
                fifths = 0
                for i in range(8):
                    fifths |= (quants[(8 * n + i) * LANES + lane] >> 4) << i
                block[qh + n] = fifths
        store(block, fields.qs, load(packed, lane * 16, 16))
