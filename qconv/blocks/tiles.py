"""Tiles: sub-blocks side by side, weight ``i`` of lane ``k`` at ``i * LANES + k``; how to round and clip them."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks import lanes
from qconv.blocks.lanes import (
    LANES,
    any_lane,
    as_float,
    at,
    bits,
    floats,
    inline,
    load,
    part,
    prefetch,
    rint,
    select,
    splat,
    store,
    store_transposed,
    to_float,
    to_int,
)

FLT_MAX = np.finfo(np.float32).max
INFINITY = 0x7F800000
"""The bits of infinity; the magnitude of a finite number has lesser ones, that of a NaN greater ones."""
SIGN = -0x80000000
"""The sign bit: the bits of -0.0."""
_BELOW_HALF = 0x3EFFFFFF
"""The bits of 0.49999997."""
EPSILON = 1e-15
"""What ggml's searches take for zero: its GROUP_MAX_EPS."""
FAST_ROUNDING = 4.0e6
"""Up to this magnitude, ggml's ``nearest_int`` rounds half to even."""


@inline
def to_nearest(v):
    """ggml's ``nearest_int`` as int32: half to even up to 4194303, well-defined bits beyond and for NaN.

    Adding 1.5 * 2**23 leaves the integer in the low bits of the sum.
    """
    return (bits(v + 12582912.0) & 0x7FFFFF) - 0x400000


@inline
def nearest(v, exact):
    """Nearest integers, as floats; ``exact``: those of ``nearest_int`` whatever the magnitude."""
    return to_float(to_nearest(v)) if exact else rint(v)


@inline
def round_half_away(v):
    """Nearest integers, halves away from zero, as int32: C's ``roundf`` and ``lroundf``.

    The number below 1/2 is added away from zero and the rest cut; with 1/2 itself, that number would come to 1.
    """
    return to_int(v + floats(bits(v) & SIGN | _BELOW_HALF))


@inline
def clip(v, low, high):
    """Float lanes, none of them NaN, clipped to ``low`` <= 0 and ``high`` > 0."""
    return at_least(at_most(v, high), low)


@inline
def at_most(v, high):
    """The minimum of lanes and ``high`` > 0.

    Compares bits as integers, for which processors have more units: signed ones order floats below a positive one.
    """
    return floats(lanes.min(bits(v), np.float32(high).view(np.int32)))


@inline
def at_least(v, low):
    """The maximum of lanes and ``low`` <= 0; as unsigned integers, negative floats order by magnitude, above all
    others."""
    if low == 0.0:
        return floats(lanes.max(bits(v), 0))
    return floats(lanes.min_unsigned(bits(v), np.float32(low).view(np.int32)))


@inline
def gather(x, starts, steps, tile):
    """Fills ``tile`` with ``steps`` weights from each of ``LANES`` starts in ``x``; ``steps`` is a multiple of 16."""
    gather_lanes(x, starts, steps, tile, LANES)


@inline
def gather_lanes(x, starts, steps, tile, count):
    """``gather`` for another number of lanes, a multiple of 16."""
    for group in range(0, count, 16):
        for i in range(0, steps, 16):
            store_transposed(
                tile,
                i * count + group,
                count,
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
def scatter_bytes(tile, memory, begin, stride):
    """16 bytes of every lane, a tile of 16 steps, to ``memory[begin + lane * stride]`` on."""
    for t in range(0, LANES, 16):
        steps = (
            load(tile, t, 16),
            load(tile, LANES + t, 16),
            load(tile, 2 * LANES + t, 16),
            load(tile, 3 * LANES + t, 16),
            load(tile, 4 * LANES + t, 16),
            load(tile, 5 * LANES + t, 16),
            load(tile, 6 * LANES + t, 16),
            load(tile, 7 * LANES + t, 16),
            load(tile, 8 * LANES + t, 16),
            load(tile, 9 * LANES + t, 16),
            load(tile, 10 * LANES + t, 16),
            load(tile, 11 * LANES + t, 16),
            load(tile, 12 * LANES + t, 16),
            load(tile, 13 * LANES + t, 16),
            load(tile, 14 * LANES + t, 16),
            load(tile, 15 * LANES + t, 16),
        )
        store_transposed(memory, begin + t * stride, stride, steps)


@inline
def put_uint16(memory, index, value):
    """Stores a number of 16 bits in memory of bytes, the lower byte first."""
    here = at(memory, index)
    here[0] = value & 0xFF
    here[1] = value >> 8


@inline
def prefetch_weights(rows, start, count):
    """Prefetches ``count`` weights from ``start`` on, which may lie past the end."""
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
def extreme(tile, steps):
    """The bits of each lane's largest magnitude, and the first value of that magnitude; see ``finite``."""
    largest, value = bits(splat(0.0, LANES)), splat(0.0, LANES)
    for i in range(steps):
        largest, value = larger(load(tile, i * LANES, LANES), largest, value)
    return largest, value


@inline
def max_lane(v):
    """The maximum of 16 lanes, as one."""
    v = lanes.max(part(v, 0, 8), part(v, 8, 8))
    v = lanes.max(part(v, 0, 4), part(v, 4, 4))
    v = lanes.max(part(v, 0, 2), part(v, 2, 2))
    return lanes.max(part(v, 0, 1), part(v, 1, 1))


@inline
def larger(v, largest, value):
    """``extreme`` so far, after another value."""
    magnitude = bits(lanes.abs(v))  # ordered like the floats they are, NaN above all
    above = magnitude > largest
    return select(above, magnitude, largest), select(above, v, value)


@inline
def without_nan(v):
    """``v`` with 0 for NaN, which ``larger`` then passes over."""
    return select(v == v, v, 0.0)


@inline
def largest_magnitude(tile, steps):
    """The bits of each lane's largest magnitude; see ``finite``."""
    largest = bits(splat(0.0, LANES))
    for i in range(steps):
        largest = lanes.max(bits(lanes.abs(load(tile, i * LANES, LANES))), largest)
    return largest


@inline
def finite(largest):
    """Whether the bits of all lanes' largest magnitudes are those of finite numbers."""
    return not any_lane(largest >= INFINITY)


@inline
def weigh(tile, w, steps, mean):
    """Turns importance into error weights, ``importance * sqrt(mean + weight**2)``, ``mean`` being one of squares.

    Returns the sums of each lane's.
    """
    total = splat(0.0, LANES)
    for i in range(steps):
        v = load(tile, i * LANES, LANES)
        weight = load(w, i * LANES, LANES) * lanes.sqrt(mean + v * v)
        store(w, i * LANES, weight)
        total = total + weight
    return total
