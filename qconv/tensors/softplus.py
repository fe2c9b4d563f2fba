"""``log(1 + exp(x))`` in float32, to the bit as torch computes it on x86-64.

torch's vectors take both functions from SLEEF (``expf_u10``, ``log1pf_u10``), not from the library its tensors'
exponential is from; what is left of a multiple of 32 numbers, as no head leaves, it computes one by one and otherwise.
The logarithm's sums of two floats are taken in float64 here, which rounds alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor
from qconv.tensors.elementwise import Elementwise
from qconv.tensors.registry import operation

Float32 = NDArray[np.float32]

_LINEAR_FROM = np.float32(20)
"""Above it torch returns ``x``."""
_LN2_HIGH, _LN2_LOW = np.float32(0.693145751953125), np.float32(1.428606765330187045e-06)
_EXP = np.array([0.000198527617612853646, 0.00139304355252534151, 0.00833336077630519867,
                 0.0416664853692054749, 0.166666671633720398, 0.5], np.float32)  # fmt: skip
"""Coefficients of ``(exp(x) - 1 - x) / x ** 2``, the highest power's first."""
_LN2 = float(np.float32(0.69314718246459960938)) + float(np.float32(-1.904654323148236017e-09))
_LOG = np.array([0.3027294874, 0.3996108174, 0.6666694880], np.float32)
"""Coefficients of ``(log((1 + y) / (1 - y)) - 2 * y) / y ** 3`` in ``y ** 2``."""


def _fma(a: Any, b: Any, c: Any) -> Float32:
    """``a * b + c``, rounded once."""
    fused: Float32 = (np.multiply(a, b, dtype=np.float64) + c).astype(np.float32)
    return fused


def _polynomial(coefficients: Float32, x: Float32) -> Float32:
    value = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = _fma(value, x, coefficient)
    return value


def _exp(x: Float32) -> Float32:
    count = np.rint(x * np.float32(1 / np.log(2)))
    rest = _fma(count, -_LN2_LOW, _fma(count, -_LN2_HIGH, x))
    grown = np.float32(1) + _fma(rest * rest, _polynomial(_EXP, rest), rest)
    power: Float32 = np.ldexp(grown, count.astype(np.int32))
    return power


def _log1p(x: Float32) -> Float32:
    """``log(1 + x)`` of positive numbers."""
    _, exponent = np.frexp((x + np.float32(1)) * np.float32(1 / 0.75))
    exponent = exponent - 1
    scale = np.ldexp(np.float32(1), -exponent)
    mantissa = _fma(x, scale, scale - np.float32(1))
    ratio = mantissa.astype(np.float64) / (2 + mantissa.astype(np.float64))
    rounded = mantissa * (np.float32(1) / (np.float32(2) + mantissa))
    square = rounded * rounded
    total = exponent * _LN2 + 2 * ratio + (square * rounded * _polynomial(_LOG, square)).astype(np.float64)
    logarithm: Float32 = total.astype(np.float32)
    return logarithm


def _softplus(x: Float32, out: Float32) -> None:
    bounded = np.clip(x, np.float32(-104), _LINEAR_FROM)
    np.copyto(out, np.where(x > _LINEAR_FROM, x, _log1p(_exp(bounded))))


@operation
def softplus(tensor: LazyTensor) -> LazyTensor:
    """``log(1 + exp(x))``: from the parameter of a positive scale to the scale."""
    return Elementwise(tensor, "softplus", _softplus)
