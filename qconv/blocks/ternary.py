"""What TQ1_0 and TQ2_0 share: 256 weights that are -1, 0 or 1 times their largest magnitude."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks import lanes
from qconv.blocks.lanes import as_float, bits, floats, inline, lane, load, select, splat, to_float, to_half
from qconv.blocks.tiles import max_lane, round_half_away


@inline
def fit(x):
    """The bits of the largest magnitude, the scale as binary16, and the inverse scale; see ``tiles.finite``."""
    largest = bits(splat(0.0, 16))
    for i in range(0, 256, 16):
        largest = lanes.max(bits(lanes.abs(as_float(load(x, i, 16)))), largest)
    largest = max_lane(largest)
    scale = floats(largest)
    inverse = 1.0 / scale
    # where the scale is too small to invert, ggml rounds infinities and NaN, which come out as 0
    return largest, lane(to_half(scale), 0), lane(select(inverse < np.inf, inverse, 0.0), 0)


@inline
def quantize(x, start, n, inverse):
    """Quants 0, 1 or 2 of the ``n`` weights from ``start`` on."""
    return round_half_away(as_float(load(x, start, n)) * inverse) + 1


@inline
def dequantize(q, d):
    return to_float(q - 1) * d
