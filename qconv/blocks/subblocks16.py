"""What Q2_K and Q3_K share: batches of super-blocks of 16 sub-blocks of 16 weights.

A batch is 16 groups (see ``groups``), so that it has LANES super-blocks: what is done over a super-block's sub-blocks
is done on tiles of 16 steps, one super-block a lane.
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from qconv.blocks.groups import squares_of_super_blocks
from qconv.blocks.lanes import LANES, f32, inline, load, repeat_all, scratch, store
from qconv.blocks.tiles import weigh

COUNT = LANES // 16
"""Super-blocks in a group."""
TILE = 16 * LANES
"""Weights in a group."""
BATCH = 16 * TILE
_sum_of_squares = squares_of_super_blocks(16)


@inline
def collect(sub_blocks, tile, group):
    """One value for each sub-block of the batch's ``group``-th group, into a tile of super-blocks."""
    here = scratch(LANES, f32)
    store(here, 0, sub_blocks)
    for part in range(16):
        store(tile, part * LANES + group * COUNT, load(here, part * COUNT, COUNT))


@inline
def weigh_by_super_block(x, w, times):
    """``tiles.weigh`` with ``times`` the super-block's mean square."""
    return weigh(x, w, 16, repeat_all(_sum_of_squares(x) * times / 256.0, 16))


@inline
def low_bits(packed, number, half, side):
    """16 bytes of the two low bits of a super-block's quants: the ``half``-th 128 weights' even or odd sub-blocks.

    ``packed``: 16 bytes a sub-block, in the order of lanes.
    """
    bits = load(packed, 0, 16) & 0
    for k in range(4):
        part = 8 * half + 2 * k + side
        bits = bits | (load(packed, (part * COUNT + number) * 16, 16) & 3) << 2 * k
    return bits
