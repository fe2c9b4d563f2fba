"""The grid of Q4_0 that weights lie on: of each 32 the scale and the multiples of it, from -8 to 7, that they are.

Weights may have been rounded to 16 bits since.  Each multiple is tried for the largest weight, and tells the others';
a scale is one if F16 holds it and every product, rounded as the weights were, is the weight.
"""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks import lanes
from qconv.blocks.codec import flat
from qconv.blocks.compile import kernel
from qconv.blocks.lanes import (
    any_lane,
    as_float,
    at,
    bits,
    floats,
    inline,
    lane,
    load,
    part,
    rint,
    select,
    splat,
    to_half,
    to_int,
)
from qconv.blocks.layout import offsets
from qconv.blocks.nibbles import pack
from qconv.blocks.tiles import INFINITY, put_uint16

BLOCK = 32
_LARGEST = 8
"""The greatest multiple; with its sign changed, for a block's scale may have either."""
_FIELDS = offsets("Q4_0", "d", "qs")
_F32 = np.float32
_HALF_STEP, _HALF_LEAST, _HALF_MOST = 2.0**-10, 2.0**-24, 65504.0
"""From one number of F16 to the next, for each power of two, and at least; and the greatest."""
_SLACK = _F32(1 + 2.0**-20)
"""What rounding the bounds of a scale may have taken from between them."""
_ROUNDING = _F32(1.5 * 2**23)
"""Added to a number and taken away again, it leaves a multiple of what it is multiplied with."""


def encode_on_grid(rows: NDArray[Any], step: float, least: float) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Blocks of Q4_0, ``(n, bytes)``, and which of them, ``(n, columns / 32)``, give back the weights.

    ``rows``: C-contiguous ``(n, columns)``, whole blocks, as stored (float32, float16 or bfloat16 bits): numbers whose
    next number is ``step`` times the power of two away, and ``least`` at least.  A block of zeros has the scale 0.
    """
    on_grid = np.empty((len(rows), rows.shape[1] // BLOCK), np.bool_)
    blocks = np.zeros((len(rows), on_grid.shape[1] * _FIELDS.end), np.uint8)
    _encode(flat(rows), _F32(step), _F32(least), blocks.reshape(-1), on_grid.reshape(-1))
    return blocks, on_grid


@kernel("grid")
def _encode(rows, step, least, out, on_grid):
    for i in range(on_grid.size):
        x = as_float(load(rows, i * BLOCK, 32))
        largest = _greatest(lanes.abs(x))
        block = at(out, i * _FIELDS.end)
        on_grid[i] = largest == 0
        pack(block, to_int(splat(_LARGEST, 32)), _FIELDS.qs, None)
        if largest == 0 or any_lane((bits(x) & INFINITY) == INFINITY):  # NaN too
            continue
        for multiple in range(_LARGEST, 0, -1):
            unit = largest / _F32(multiple)
            ratio = x * (_F32(1) / unit)
            q = rint(ratio)
            # this and the largest were rounded, by half a step each: it tells most multiples to be wrong
            if any_lane(lanes.abs(ratio - q) > lanes.abs(q) * (_F32(2) * step)):
                continue
            d = _scale(x, q, step, least)
            if d != 0:
                on_grid[i] = True
                put_uint16(block, _FIELDS.d, lane(to_half(splat(d, 16)), 0))
                pack(block, to_int(select(splat(d, 32) < 0, -q, q) + _F32(_LARGEST)), _FIELDS.qs, None)
                break


@inline
def _scale(x, q, step, least):
    """The scale where the weights are about the multiples ``q`` of one, negative where it is that of ``-q``; or 0."""
    least_q, most_q = -_greatest(-q), _greatest(q)
    if least_q == -_LARGEST and most_q == _LARGEST:
        return _F32(0)
    size, count = lanes.abs(x), lanes.abs(q)
    of_one = _F32(1) / lanes.max(count, 1.0)
    power = floats(bits(size) & INFINITY)  # the greatest power of two that a magnitude reaches
    half = lanes.max(power * step, least) * _F32(0.5)
    below = select((size == power) & (half > least * _F32(0.5)), half * _F32(0.5), half)
    low = _greatest(select(count > 0, (size - below) * of_one, 0.0))
    high = -_greatest(-select(count > 0, (size + half) * of_one, _F32(np.inf)))
    if low > high * _SLACK:
        return _F32(0)
    best = min(max(_sum(size * count) / _sum(count * count), low), high)
    between = max(_power(best) * _F32(_HALF_STEP), _F32(_HALF_LEAST))
    nearest = np.rint(best / between) * between
    for d in (nearest, nearest - between, nearest + between):
        if 0 < d <= _HALF_MOST and _gives_back(x, q, d, step, least):
            return -d if most_q == _LARGEST else d
    return _F32(0)


@inline
def _gives_back(x, q, d, step, least):
    product = q * d  # exact: 4 bits and 11
    round_to = lanes.max(floats(bits(product) & INFINITY) * step, least) * _ROUNDING
    return not any_lane((product + round_to) - round_to != x)


@inline
def _power(value):
    """The greatest power of two that a number's magnitude reaches; 0 for 0."""
    return np.int32(_F32(value).view(np.int32) & INFINITY).view(_F32)


@inline
def _greatest(v):
    """Of 32 lanes."""
    v = lanes.max(part(v, 0, 16), part(v, 16, 16))
    v = lanes.max(part(v, 0, 8), part(v, 8, 8))
    v = lanes.max(part(v, 0, 4), part(v, 4, 4))
    v = lanes.max(part(v, 0, 2), part(v, 2, 2))
    return max(lane(v, 0), lane(v, 1))


@inline
def _sum(v):
    """Of 32 lanes."""
    v = part(v, 0, 16) + part(v, 16, 16)
    v = part(v, 0, 8) + part(v, 8, 8)
    v = part(v, 0, 4) + part(v, 4, 4)
    v = part(v, 0, 2) + part(v, 2, 2)
    return lane(v, 0) + lane(v, 1)
