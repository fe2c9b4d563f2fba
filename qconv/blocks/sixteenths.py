"""What Q2_K and Q3_K share: batches of super-blocks of 16 sub-blocks of 16 weights.

A batch is 16 groups (see ``groups``), so that it has LANES super-blocks: what is done over a super-block's sub-blocks
is done on tiles of 16 steps, one super-block a lane.
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

from qconv.blocks.lanes import LANES, f32, inline, load, root, scratch, splat, store

COUNT = LANES // 16
"""Super-blocks in a group."""
TILE = 16 * LANES
"""Weights in a group."""
BATCH = 16 * TILE


@inline
def collect(sub_blocks, tile, group):
    """One value for each sub-block of the batch's ``group``-th group, into a tile of super-blocks."""
    here = scratch(LANES, f32)
    store(here, 0, sub_blocks)
    for part in range(16):
        store(tile, part * LANES + group * COUNT, load(here, part * COUNT, COUNT))


@inline
def hand_out(tile, group):
    """The values of a group's sub-blocks from a tile of super-blocks: ``collect``'s reverse."""
    here = scratch(LANES, f32)
    for part in range(16):
        store(here, part * COUNT, load(tile, part * LANES + group * COUNT, COUNT))
    return load(here, 0, LANES)


@inline
def weigh(x, weights, times):
    """Turns importance into what each weight's error counts, importance * sqrt(times * mean square + weight**2).

    The mean is the super-block's, over all its weights in order.  Returns the sums of each sub-block's.
    """
    squares, mean = splat(0.0, COUNT), scratch(LANES, f32)
    for part in range(16):
        for i in range(16):
            v = load(x, i * LANES + part * COUNT, COUNT)
            squares = squares + v * v
    for part in range(16):
        store(mean, part * COUNT, squares * times / 256.0)
    total = splat(0.0, LANES)
    for i in range(16):
        v = load(x, i * LANES, LANES)
        w = load(weights, i * LANES, LANES) * root(load(mean, 0, LANES) + v * v)
        store(weights, i * LANES, w)
        total = total + w
    return total


@inline
def low_bits(quants, number, half, side):
    """16 bytes of the two low bits of a super-block's quants: the ``half``-th 128 weights' even or odd sub-blocks."""
    packed = load(quants, 0, 16) & 0
    for k in range(4):
        part = 8 * half + 2 * k + side
        packed = packed | (load(quants, (part * COUNT + number) * 16, 16) & 3) << 2 * k
    return packed
