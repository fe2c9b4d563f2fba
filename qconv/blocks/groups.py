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
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from qconv.blocks.compile import flat
from qconv.blocks.lanes import LANES, at, bits, inline, load, store_turned

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


@intrinsic
def _prefetch(typing, memory):
    def emit(context, builder, signature, values):
        number, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # to read, to be kept in the second cache, data
        builder.call(function, [builder.bitcast(values[0], pointer), number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.void(memory), emit


@inline
def fetch_ahead(rows, start, count):
    """Has ``count`` weights from ``start`` on brought near while others are worked on."""
    for i in range(start, min(start + count, rows.size), 16):
        _prefetch(at(rows, i))


@inline
def find(places, first, columns, parts, weights):
    """Fill ``places`` with where each lane's sub-block of ``weights`` weights begins, wrapping after ``columns``."""
    count = LANES // parts
    for number in range(count):
        place = (first + number * parts * weights) % columns
        for part in range(parts):
            places[part * count + number] = place + part * weights


@inline
def turn_back(lanes, memory, at, stride):
    """16 bytes of every lane, ``lanes[i * LANES + lane]``, each to ``memory[at + lane * stride]`` on."""
    for t in range(0, LANES, 16):
        sixteen = (
            load(lanes, t, 16),
            load(lanes, LANES + t, 16),
            load(lanes, 2 * LANES + t, 16),
            load(lanes, 3 * LANES + t, 16),
            load(lanes, 4 * LANES + t, 16),
            load(lanes, 5 * LANES + t, 16),
            load(lanes, 6 * LANES + t, 16),
            load(lanes, 7 * LANES + t, 16),
            load(lanes, 8 * LANES + t, 16),
            load(lanes, 9 * LANES + t, 16),
            load(lanes, 10 * LANES + t, 16),
            load(lanes, 11 * LANES + t, 16),
            load(lanes, 12 * LANES + t, 16),
            load(lanes, 13 * LANES + t, 16),
            load(lanes, 14 * LANES + t, 16),
            load(lanes, 15 * LANES + t, 16),
        )
        store_turned(memory, at + t * stride, stride, sixteen)


@inline
def nearest(v):
    """Float32 lanes rounded half to even, as int32, in the reference's way: exact to 4194303, known bits beyond.

    Adding 1.5 * 2**23 leaves the integer in the low bits of the sum's mantissa.
    """
    return (bits(v + 12582912.0) & 0x7FFFFF) - 0x400000
