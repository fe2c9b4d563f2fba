"""Groups of LANES sub-blocks worked on side by side, one a lane.

A group is ``LANES / parts`` super-blocks of ``parts`` sub-blocks.  Lane ``part * (LANES / parts) + number`` holds
sub-block ``part`` of super-block ``number``, so that the lanes of one part are neighbours and what the reference does
over a super-block's sub-blocks in order is done over vectors of ``LANES / parts`` lanes in the same order.
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from qconv.blocks.codec import Decoder, EncodeContext, flat
from qconv.blocks.lanes import LANES, inline, load, splat
from qconv.types import SEARCHES

INDEX = types.int64
"""What positions of weights are counted in."""


class GroupCodec(Decoder):
    """The codec of a type that is encoded in groups of ``weights`` weights.

    ``encode``, and ``encode_important`` with importance, None for a type without a search: kernels ``(rows, importance,
    first, out)`` that encode 1-D ``rows``, whole groups, of which the first weight is in column ``first``, and return
    False when one is not finite.
    """

    searches = SEARCHES[:1]

    def __init__(self, block_type: str, weights: int, encode: Any, encode_important: Any, decode: Any) -> None:
        super().__init__(block_type, decode)
        self._weights, self._encode, self._encode_important = weights, encode, encode_important

    def encode(self, rows: NDArray[Any], context: EncodeContext, out: NDArray[np.uint8]) -> bool:
        if context.importance is None or self._encode_important is None:
            return encode_groups(self._encode, rows, None, out, self._weights)
        return encode_groups(self._encode_important, rows, context.importance, out, self._weights)


def encode_groups(
    kernel: Any, rows: NDArray[Any], importance: NDArray[np.float32] | None, out: NDArray[np.uint8], weights: int
) -> bool:
    """Runs ``kernel``, whose groups are of ``weights`` weights, over rows of any number of blocks.

    What is left after the whole groups is encoded in a group filled up with zeros.
    """
    source, target = flat(rows), out.reshape(-1)
    whole = source.size - source.size % weights
    done = target.size * whole // source.size
    if whole and not kernel(source[:whole], importance, 0, target[:done]):
        return False
    if whole < source.size:
        last = np.zeros(weights, source.dtype)
        last[: source.size - whole] = source[whole:]
        blocks = np.empty(target.size * weights // source.size, np.uint8)
        if not kernel(last, importance, whole % rows.shape[1], blocks):
            return False
        target[done:] = blocks[: target.size - done]
    return True


@inline
def find_sub_blocks(starts, first, columns, parts, weights):
    """Fills ``starts`` with the first weight of each lane's sub-block of ``weights`` weights, modulo ``columns``."""
    count = LANES // parts
    for number in range(count):
        start = (first + number * parts * weights) % columns
        for part in range(parts):
            starts[part * count + number] = start + part * weights


@inline
def find_super_blocks(blocks, starts, base, here, retry, parts):
    """Fills ``blocks`` with the numbers of a group's super-blocks and ``starts`` with their sub-blocks' first weights.

    The ``here`` super-blocks from the ``base``-th on, of all or of those numbered in ``retry``; the last one again
    where these fill no group.
    """
    count, weights = LANES // parts, 256 // parts
    for number in range(count):
        k = base + min(number, here - 1)
        blocks[number] = k if retry is None else retry[k]
        for part in range(parts):
            starts[part * count + number] = blocks[number] * 256 + part * weights


@inline
def find_importance(starts, blocks, columns, parts):
    """Fills ``starts`` with the first importance, of ``columns``, of the sub-blocks of super-blocks ``blocks``."""
    count, weights = LANES // parts, 256 // parts
    for number in range(count):
        for part in range(parts):
            starts[part * count + number] = blocks[number] * 256 % columns + part * weights


def squares_of_super_blocks(parts: int) -> Any:
    """``sum_of_squares(tile)`` for kernels of super-blocks of ``parts`` sub-blocks: ``LANES / parts`` sums, each over
    all weights of a super-block in order."""
    count, steps = LANES // parts, 256 // parts

    @inline
    def sum_of_squares(tile):
        squares = splat(0.0, count)
        for part in range(parts):
            for i in range(steps):
                v = load(tile, i * LANES + part * count, count)
                squares = squares + v * v
        return squares

    return sum_of_squares
