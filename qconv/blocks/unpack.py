"""What decoders share: reading scales and high bits out of blocks."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks.lanes import from_half, inline, lane, load, repeat_each, select, widen, words

_BIT_OF_BYTE = np.tile(1 << np.arange(8), 4).astype(np.uint8)


@inline
def half(blocks, at):
    """The binary16 number at ``blocks[at]`` as float32."""
    return lane(from_half(words(load(blocks, at, 2))), 0)


@inline
def nibble(blocks, at, k):
    """The ``k``-th 4 bits from ``blocks[at]`` on, the low ones of a byte first."""
    return blocks[at + k // 2] >> 4 * (k % 2) & 15


@inline
def uint16(blocks, at):
    return blocks[at] | blocks[at + 1] << 8


@inline
def uint32(blocks, at):
    return uint16(blocks, at) | uint16(blocks, at + 2) << 16


@inline
def signed(v):
    """Bytes in two's complement as int32."""
    return (widen(v) ^ 128) - 128


@inline
def spread_bits(blocks, at, value):
    """The 32 bits of 4 bytes, least significant first, as bytes of 0 or ``value``."""
    spread = repeat_each(load(blocks, at, 4), 8)
    return select((spread & load(_BIT_OF_BYTE, 0, 32)) != 0, value, spread & 0)


@inline
def pick(q, table):
    """``table[q]`` for lanes of 4-bit bytes; ``table``: 16 bytes."""
    one, two, four, eight = (q & 1) != 0, (q & 2) != 0, (q & 4) != 0, (q & 8) != 0
    zero = q & 0
    a = select(two, select(one, table[3], zero + table[2]), select(one, table[1], zero + table[0]))
    b = select(two, select(one, table[7], zero + table[6]), select(one, table[5], zero + table[4]))
    c = select(two, select(one, table[11], zero + table[10]), select(one, table[9], zero + table[8]))
    d = select(two, select(one, table[15], zero + table[14]), select(one, table[13], zero + table[12]))
    return select(eight, select(four, d, c), select(four, b, a))
