"""Encoding without a search, of blocks of 32 weights: Q4_0, Q4_1, Q5_0, Q5_1 without importance, and Q8_0.

Extremes alone decide a block's scale, and weights are rounded to the nearest quant.  Sixteen blocks at a time: their
extremes, a block a lane, give their factors; then each block is quantized on its own, while the next sixteen wait for
their divisions.
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

from numba.extending import intrinsic

from qconv.blocks import lanes
from qconv.blocks.lanes import as_float, at, bits, inline, join, load
from qconv.blocks.lanes.vectors import shuffled
from qconv.blocks.tiles import prefetch_weights

GROUP = 16 * 32
"""Weights of the blocks worked on at once."""
_AHEAD = 8 * GROUP
"""How far ahead weights are prefetched."""
FACTORS = 2 * 16
"""Room for one factor of each of the blocks, and of those before."""


@inline
def encode_blocks(rows, out, top, block_bytes, fit, write, factors):
    """Fills ``out`` with blocks of ``block_bytes`` and quants up to ``top``; False when a weight is not finite.

    ``fit(rows, start, greatest, greatest_unsigned, top, slot, factors)`` keeps the factors of 16 blocks from weight
    ``start`` on, of which the bits that are greatest are given, at ``slot`` in the memory ``factors``, and tells
    whether all weights are finite; ``write(rows, start, out, begin, top, slot, factors)`` quantizes one block with its
    factors.
    """
    x, blocks = at(rows, 0), at(out, 0)
    for start in range(0, rows.size + GROUP, GROUP):
        slot = start // GROUP % 2 * 16
        if start < rows.size:
            greatest, unsigned = _greatest_bits(lanes.max, x, start), _greatest_bits(lanes.max_unsigned, x, start)
            if not fit(x, start, greatest, unsigned, top, slot, factors):
                return False
        if start > 0:
            for k in range(16):
                block = start // 32 - 16 + k
                prefetch_weights(x, block * 32 + _AHEAD, 32)
                write(x, block * 32, blocks, block * block_bytes, top, 16 - slot + k, factors)
    return True


def _chunks(name: str, offset: int) -> Any:
    """An intrinsic giving every other chunk of ``n`` lanes, from the first or the second on, of two vectors in turn."""

    def function(typing, a, b, n):
        def emit(context, builder, signature, values):
            count, size = signature.args[0].n, n.literal_value
            order = [i + k + offset * size for i in range(0, 2 * count, 2 * size) for k in range(size)]
            return shuffled(builder, values[0], values[1], order)

        return a(a, b, n), emit

    function.__name__ = function.__qualname__ = name
    return intrinsic(prefer_literal=True)(function)


_even_chunks, _odd_chunks = _chunks("_even_chunks", 0), _chunks("_odd_chunks", 1)


@inline
def _halved(choose, a, b, n):
    return choose(_even_chunks(a, b, n), _odd_chunks(a, b, n))


@inline
def _eight(choose, rows, i):
    first = choose(bits(as_float(load(rows, i, 8))), bits(as_float(load(rows, i + 8, 8))))
    return choose(first, choose(bits(as_float(load(rows, i + 16, 8))), bits(as_float(load(rows, i + 24, 8)))))


@inline
def _two(choose, rows, i):
    return join(_eight(choose, rows, i), _eight(choose, rows, i + 32))


@inline
def _four(choose, rows, i):
    return _halved(choose, _two(choose, rows, i), _two(choose, rows, i + 64), 4)


@inline
def _greatest_bits(choose, rows, start):
    """The bits ``choose`` takes from each of 16 blocks from weight ``start`` on, one a lane.

    As signed integers those of the greatest weight if any is above zero; as unsigned ones those of the least weight if
    any is below.
    """
    first = _halved(choose, _four(choose, rows, start), _four(choose, rows, start + 128), 2)
    second = _halved(choose, _four(choose, rows, start + 256), _four(choose, rows, start + 384), 2)
    return _halved(choose, first, second, 1)
