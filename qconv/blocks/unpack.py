"""What decoders share: reading scales and high bits out of blocks."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

import numpy as np

from qconv.blocks.lanes import from_half, inline, lane, load, repeat, select, widen

_BIT_OF_BYTE = np.tile(1 << np.arange(8), 4).astype(np.uint8)


@inline
def half(halves, i):
    """The binary16 number at ``halves[i]`` (uint16) as float32."""
    return lane(from_half(load(halves, i, 1)), 0)


@inline
def signed(v):
    """Bytes in two's complement as int32."""
    return (widen(v) ^ 128) - 128


@inline
def fifth_bits(blocks, at):
    """The 32 bits of 4 bytes, least significant first, as bytes of 0 or 16."""
    spread = repeat(load(blocks, at, 4), 8)
    return select((spread & load(_BIT_OF_BYTE, 0, 32)) != 0, 16, spread & 0)


@inline
def scale_and_min(blocks, at, j):
    """Scale and min, 6 bits each, of sub-block ``j`` of 8, from the 12 bytes Q4_K and Q5_K pack them in."""
    if j < 4:
        return blocks[at + j] & 63, blocks[at + j + 4] & 63
    low = blocks[at + j + 4]
    return (low & 15) | (blocks[at + j - 4] >> 6) << 4, (low >> 4) | (blocks[at + j] >> 6) << 4
