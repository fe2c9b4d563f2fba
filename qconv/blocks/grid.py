"""The grid of Q4_0 that weights lie on: of each 32 the scale and the multiples of it, from -8 to 7, that they are.

Weights may have been rounded to 16 bits since.  Each multiple is tried for the largest weight, and tells the others';
a scale is one if F16 holds it and every product, rounded as the weights were, is the weight.
"""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from qconv.blocks.compile import kernel

BLOCK = 32
_LARGEST = 8
"""The greatest multiple; with its sign changed, for a block's scale may have either."""
_F32 = np.float32
_HALF_STEP, _HALF_LEAST, _HALF_MOST = 2.0**-10, 2.0**-24, 65504.0
"""From one number of F16 to the next, for each power of two, and at least; and the greatest."""
_SLACK = _F32(1 + 2.0**-20)
"""What rounding the bounds of a scale may have taken from between them."""
_ROUNDING = _F32(1.5 * 2**23)
"""Added to a number and taken away again, it leaves a multiple of what it is multiplied with."""


def find_grid(
    rows: NDArray[np.float32], step: float, least: float
) -> tuple[NDArray[np.int16], NDArray[np.float16], NDArray[np.bool_]]:
    """Multiples ``(n, columns)``, scales ``(n, columns / 32)``, and which blocks lie on the grid, as the scales.

    ``rows``: C-contiguous ``(n, columns)``, whole blocks, numbers of a type whose next number is ``step`` times the
    power of two away, and ``least`` at least.  A block of zeros has the scale 0.
    """
    quants = np.zeros(rows.shape, np.int16)
    scales = np.zeros((len(rows), rows.shape[1] // BLOCK), np.float32)
    on_grid = np.zeros(scales.shape, np.bool_)
    _find(rows.reshape(-1), _F32(step), _F32(least), quants.reshape(-1), scales.reshape(-1), on_grid.reshape(-1))
    return quants, scales.astype(np.float16), on_grid


@kernel("grid")
def _find(x, step, least, quants, scales, on_grid):
    for i in range(scales.size):
        block, k = x[i * BLOCK : (i + 1) * BLOCK], quants[i * BLOCK : (i + 1) * BLOCK]
        largest, total = _F32(0), _F32(0)
        for value in block:
            largest, total = max(largest, abs(value)), total + abs(value)
        on_grid[i] = total == 0
        if not 0 < total < np.inf:  # NaN too
            continue
        for multiple in range(_LARGEST, 0, -1):
            d = _scale(block, largest / _F32(multiple), step, least, k)
            if d != 0:
                scales[i], on_grid[i] = d, True
                break


@njit(inline="always")
def _scale(block, unit, step, least, k):
    """The scale where the weights are multiples of about ``unit``, and the multiples in ``k``; 0 for none."""
    inverse = _F32(1) / unit
    for j in range(BLOCK):  # tells most multiples to be wrong by the first few weights
        ratio = block[j] * inverse
        q = np.rint(ratio)
        if abs(ratio - q) > _F32(2) * step * abs(q):  # this and the largest were rounded, by half a step each
            return _F32(0)
        k[j] = np.int16(q)
    low, high, least_k, most_k = _F32(0), _F32(np.inf), _F32(0), _F32(0)
    products, squares = _F32(0), _F32(0)
    for j in range(BLOCK):
        q, size = _F32(abs(k[j])), abs(block[j])
        of_one = _F32(1) / max(q, _F32(1))
        power = _power(size)
        half = max(power * step, least) * _F32(0.5)
        below = half * _F32(0.5) if size == power and half > least * _F32(0.5) else half
        low = max(low, (size - below) * of_one if q > 0 else _F32(0))
        high = min(high, (size + half) * of_one if q > 0 else _F32(np.inf))
        least_k, most_k = min(least_k, _F32(k[j])), max(most_k, _F32(k[j]))
        products, squares = products + size * q, squares + q * q
    if low > high * _SLACK or (least_k == -_LARGEST and most_k == _LARGEST):
        return _F32(0)
    best = min(max(products / squares, low), high)
    between = max(_power(best) * _F32(_HALF_STEP), _F32(_HALF_LEAST))
    nearest = np.rint(best / between) * between
    for d in (nearest, nearest - between, nearest + between):
        if 0 < d <= _HALF_MOST and _gives_back(block, d, step, least, k):
            if most_k == _LARGEST:
                for j in range(BLOCK):
                    k[j] = -k[j]
                return -d
            return d
    return _F32(0)


@njit(inline="always")
def _gives_back(block, d, step, least, k):
    wrong = 0
    for j in range(BLOCK):
        product = d * _F32(k[j])  # exact: 11 bits and 4
        round_to = max(_power(product) * step, least) * _ROUNDING
        wrong += product + round_to - round_to != block[j]
    return wrong == 0


@njit(inline="always")
def _power(value):
    """The greatest power of two that a number's magnitude reaches; 0 for 0."""
    return np.int32(_F32(value).view(np.int32) & 0x7F800000).view(_F32)
