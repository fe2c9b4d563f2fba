"""Groups of LANES sub-blocks worked on side by side, one a lane.

A group is ``LANES / parts`` super-blocks of ``parts`` sub-blocks.  Lane ``part * (LANES / parts) + number`` holds
sub-block ``part`` of super-block ``number``, so that the lanes of one part are neighbours and what the reference does
over a super-block's sub-blocks in order is done over vectors of ``LANES / parts`` lanes in the same order.
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from qconv.blocks.compile import flat
from qconv.blocks.lanes import LANES, any_lane, i32, inline, scratch, select, splat, store, to_int

Kernel = Callable[[NDArray[Any], NDArray[np.float32] | None, int, NDArray[np.uint8]], bool]
"""``kernel(rows, importance, first, out)``: encodes 1-D ``rows``, whole groups, of which the first weight is in column
``first``; False when one is not finite."""

PLACE = types.int64
"""What places are counted in."""


def encode_groups(
    kernel: Kernel,
    rows: NDArray[Any],
    importance: NDArray[np.float32] | None,
    out: NDArray[np.uint8],
    weights: int,
) -> bool:
    """Run ``kernel``, whose groups are of ``weights`` weights, over rows of any number of blocks.

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
def find(places, first, columns, parts, weights):
    """Fill ``places`` with where each lane's sub-block of ``weights`` weights begins, wrapping after ``columns``."""
    count = LANES // parts
    for number in range(count):
        place = (first + number * parts * weights) % columns
        for part in range(parts):
            places[part * count + number] = place + part * weights


@inline
def find_blocks(blocks, starts, base, here, redo, parts):
    """Numbers of the next ``here`` super-blocks of a group, filled up with the last, and where sub-blocks begin."""
    count, weights = LANES // parts, 256 // parts
    for number in range(count):
        k = base + min(number, here - 1)
        blocks[number] = k if redo is None else redo[k]
        for part in range(parts):
            starts[part * count + number] = blocks[number] * 256 + part * weights


@inline
def find_importance(starts, blocks, columns, parts):
    """Where the importance of the sub-blocks of super-blocks ``blocks`` begins, in a vector of ``columns``."""
    count, weights = LANES // parts, 256 // parts
    for number in range(count):
        for part in range(parts):
            starts[part * count + number] = blocks[number] * 256 % columns + part * weights


@inline
def mark_doubtful(doubt, blocks, doubtful, parts):
    """Sets ``doubtful`` of the super-blocks of lanes in ``doubt``."""
    if any_lane(doubt):
        marks = scratch(LANES, i32)
        store(marks, 0, select(doubt, to_int(splat(1.0, LANES)), 0))
        for k in range(LANES):
            if marks[k] != 0:
                doubtful[blocks[k % (LANES // parts)]] = 1
