"""Sub-blocks side by side: weights gathered into tiles, where step ``i`` of lane ``k`` is at ``i * LANES + k``."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks.lanes import (
    LANES,
    any_lane,
    as_float,
    bits,
    floats,
    inline,
    least,
    least_unsigned,
    load,
    most,
    rint,
    size,
    splat,
    store_turned,
    to_float,
)

LARGEST = np.finfo(np.float32).max
EXACT = 4.0e6
"""Below this, ggml's way of rounding (``nearest`` with ``exact``) is rounding half to even."""


@inline
def nearest(v, exact):
    """Integers nearest to lanes, as floats.  ``exact``: as ggml does it, whatever the lane, NaN and huge included."""
    if exact:
        # adding 1.5 * 2**23 leaves the integer in the low bits of the sum
        return to_float((bits(v + 12582912.0) & 0x7FFFFF) - 0x400000)
    return rint(v)


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
    for group in range(0, LANES, 16):
        for i in range(0, steps, 16):
            store_turned(
                tile,
                i * LANES + group,
                LANES,
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
