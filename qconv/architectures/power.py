"""Powers in float32 as torch computes them on x86-64: the algorithm of Sleef's ``powf`` (1 ULP, with FMA).

A number and its rest, two float32, stand for one of twice the precision; ``e ** (y * log x)`` in such pairs.  Products
and sums that the processor fuses are computed in float64 here, where the product of two float32 is exact.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Pair: TypeAlias = tuple[Floats, Floats]

_LOG_TERMS = (0.240320354700088500976562, 0.285112679004669189453125, 0.400007992982864379882812)
_LOG_THIRD = (0.66666662693023681640625, 3.69183861259614332084311e-09)
_LOG_TWO = (0.69314718246459960938, -1.904654323148236017e-09)
_EXP_TERMS = (
    0.00136324646882712841033936,
    0.00836596917361021041870117,
    0.0416710823774337768554688,
    0.166665524244308471679688,
    0.499999850988388061523438,
)
_STEP = (-0.693145751953125, -1.428606765330187045e-06)


def power(base: float, exponents: Floats) -> Floats:
    """``base ** exponents`` for a positive base."""
    ones = np.ones_like(exponents)
    return _exp(_times(_log(np.float32(base) * ones), (exponents, 0 * ones)))


def _fused(a: Floats, b: Floats, c: Floats) -> Floats:
    """``a * b + c``, rounded once."""
    return (a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)).astype(np.float32)


def _sum(x: Pair, y: Pair) -> Pair:
    high = x[0] + y[0]
    moved = high - x[0]
    return high, ((x[0] - (high - moved)) + (y[0] - moved)) + (x[1] + y[1])


def _ordered_sum(x: Pair, y: Pair) -> Pair:
    """The same when ``x`` is the larger."""
    high = x[0] + y[0]
    return high, (((x[0] - high) + y[0]) + x[1]) + y[1]


def _times(x: Pair, y: Pair) -> Pair:
    high = x[0] * y[0]
    return high, _fused(x[0], y[1], _fused(x[1], y[0], _fused(x[0], y[0], -high)))


def _over(x: Pair, y: Pair) -> Pair:
    inverse = np.float32(1) / y[0]
    high = x[0] * inverse
    rest = _fused(inverse, x[0], -high)
    left = _fused(-y[1], inverse, _fused(-y[0], inverse, np.ones_like(inverse)))
    return high, _fused(high, left, _fused(x[1], inverse, rest))


def _polynomial(terms: tuple[float, ...], x: Floats) -> Floats:
    value = np.full_like(x, terms[0])
    for term in terms[1:]:
        value = _fused(value, x, np.full_like(x, term))
    return value


def _log(x: Floats) -> Pair:
    zero, one = np.zeros_like(x), np.ones_like(x)
    exponent = np.frexp(x * np.float32(1 / 0.75))[1] - 1
    mantissa = np.ldexp(x, -exponent).astype(np.float32)
    ratio = _over(_sum((-one, zero), (mantissa, zero)), _sum((one, zero), (mantissa, zero)))
    square = _times(ratio, ratio)
    tail = _polynomial(_LOG_TERMS, square[0])
    third = (one * np.float32(_LOG_THIRD[0]), one * np.float32(_LOG_THIRD[1]))
    whole = _times((one * np.float32(_LOG_TWO[0]), one * np.float32(_LOG_TWO[1])), (exponent.astype(np.float32), zero))
    start = _ordered_sum(whole, (ratio[0] * np.float32(2), ratio[1] * np.float32(2)))
    return _ordered_sum(start, _times(_times(square, ratio), _sum(_times(square, (tail, zero)), third)))


def _exp(x: Pair) -> Floats:
    zero, one = np.zeros_like(x[0]), np.ones_like(x[0])
    steps = np.rint((x[0] + x[1]) * np.float32(1.442695040888963407))
    rest = _sum(_sum(x, (steps * np.float32(_STEP[0]), zero)), (steps * np.float32(_STEP[1]), zero))
    rest = _ordered_sum((rest[0], zero), (rest[1], zero))
    grown = _sum(rest, _times(_times(rest, rest), (_polynomial(_EXP_TERMS, rest[0]), zero)))
    value = _ordered_sum((one, zero), grown)
    result: Floats = np.ldexp(value[0] + value[1], steps.astype(np.int32)).astype(np.float32)
    return result
