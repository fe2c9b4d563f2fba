"""Tiles: sub-blocks side by side, weight ``i`` of lane ``k`` at ``i * LANES + k``; how to round and clip them."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks.lanes import (
    LANES,
    any_lane,
    as_float,
    at,
    bits,
    floats,
    inline,
    least,
    least_unsigned,
    load,
    most,
    prefetch,
    rint,
    size,
    splat,
    store_turned,
    to_float,
)

LARGEST = np.finfo(np.float32).max
INFINITY = 0x7F800000
"""The bits of infinity: those of a finite number's size are less."""
SIGN = -0x80000000
"""The bit of a number's sign, alone those of -0.0."""
LEAST = 1e-15
"""What is smaller counts as zero in ggml's searches."""
EXACT = 4.0e6
"""Below this, ggml's way of rounding (``to_nearest``) is rounding half to even."""


@inline
def to_nearest(v):
    """Integers nearest to lanes, as int32, in ggml's way: half to even up to 4194303, known bits beyond and for NaN.

    Adding 1.5 * 2**23 leaves the integer in the low bits of the sum.
    """
    return (bits(v + 12582912.0) & 0x7FFFFF) - 0x400000


@inline
def nearest(v, exact):
    """Integers nearest to lanes, as floats; ``exact``: in ggml's way, whatever the lane."""
    return to_float(to_nearest(v)) if exact else rint(v)


@inline
def clip(v, low, high):
    """Float lanes, none of them NaN, moved into ``low`` <= 0 to ``high`` > 0."""
    return at_least(at_most(v, high), low)


@inline
def at_most(v, high):
    """The lesser of lanes and ``high`` > 0.

    Compares bits as integers, for which processors have more units: signed ones order floats below a positive one.
    """
    return floats(least(bits(v), np.float32(high).view(np.int32)))


@inline
def at_least(v, low):
    """The greater of lanes and ``low`` <= 0; unsigned integers order negative floats by size, above all others."""
    if low == 0.0:
        return floats(most(bits(v), 0))
    return floats(least_unsigned(bits(v), np.float32(low).view(np.int32)))


@inline
def gather(x, starts, steps, tile):
    """Fills ``tile`` with ``steps`` weights from each of ``LANES`` places in ``x``; ``steps`` is a multiple of 16."""
    gather_lanes(x, starts, steps, tile, LANES)


@inline
def gather_lanes(x, starts, steps, tile, lanes):
    """``gather`` for another number of ``lanes``, a multiple of 16."""
    for group in range(0, lanes, 16):
        for i in range(0, steps, 16):
            store_turned(
                tile,
                i * lanes + group,
                lanes,
                (
                    as_float(load(x, starts[group + 0] + i, 16)),
                    as_float(load(x, starts[group + 1] + i, 16)),
                    as_float(load(x, starts[group + 2] + i, 16)),
                    as_float(load(x, starts[group + 3] + i, 16)),
                    as_float(load(x, starts[group + 4] + i, 16)),
                    as_float(load(x, starts[group + 5] + i, 16)),
                    as_float(load(x, starts[group + 6] + i, 16)),
                    as_float(load(x, starts[group + 7] + i, 16)),
                    as_float(load(x, starts[group + 8] + i, 16)),
                    as_float(load(x, starts[group + 9] + i, 16)),
                    as_float(load(x, starts[group + 10] + i, 16)),
                    as_float(load(x, starts[group + 11] + i, 16)),
                    as_float(load(x, starts[group + 12] + i, 16)),
                    as_float(load(x, starts[group + 13] + i, 16)),
                    as_float(load(x, starts[group + 14] + i, 16)),
                    as_float(load(x, starts[group + 15] + i, 16)),
                ),
            )


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
def put_half(memory, index, value):
    """Stores a number of 16 bits in memory of bytes, the lower first."""
    here = at(memory, index)
    here[0] = value & 0xFF
    here[1] = value >> 8


@inline
def fetch_ahead(rows, start, count):
    """Has ``count`` weights from ``start`` on brought near while others are worked on; they may lie past the end."""
    for i in range(start, start + count, 16):
        prefetch(rows, i)


@inline
def sum_of_squares(tile, steps):
    total = splat(0.0, LANES)
    for i in range(steps):
        v = load(tile, i * LANES, LANES)
        total = total + v * v
    return total


@inline
def tile_is_finite(tile, steps):
    """Whether no weight is NaN or infinite; only worth asking where a sum of them is not finite."""
    bad = splat(0.0, LANES) > 0.0
    for i in range(steps):
        bad = bad | ~(size(load(tile, i * LANES, LANES)) <= LARGEST)
    return not any_lane(bad)
