"""The exponential in float32, to the bit as torch computes it on x86-64.

torch's wheels call Intel's vector mathematics library, whose results differ from correct rounding in about one of a
hundred values.  Observed from outside, it is this: with ``k`` the multiple of ``ln 2 / 128`` nearest to ``x`` and ``r``
what is left, ``T + (T * (r + r * r / 2) + t)``, where ``T + t`` is ``2 ** (k / 128)``; every step rounded to float32.
Another processor's code path may round otherwise, as torch itself then does.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_STEPS = 128
_STEP = math.log(2) / _STEPS
_STEP_HIGH = np.float32(round(_STEP * 2**17) / 2**17)
"""So few bits that its product with ``k`` is exact."""
_STEP_LOW = np.float32(_STEP - float(_STEP_HIGH))
_POWERS = np.exp2(np.arange(_STEPS) / _STEPS)
_HIGH = _POWERS.astype(np.float32)
_LOW = (_POWERS - _HIGH).astype(np.float32)


def exp(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """``e ** x``, for any shape; NaN and infinities as usual."""
    with np.errstate(over="ignore", invalid="ignore"):
        bounded = np.clip(np.nan_to_num(x, nan=0.0), -110, 110).astype(np.float32)
        steps = np.rint(bounded * np.float32(1 / _STEP))
        whole, part = np.divmod(steps.astype(np.int32), np.int32(_STEPS))
        count = steps
        rest = (bounded - count * _STEP_HIGH) - count * _STEP_LOW
        grown = rest + (rest * rest) * np.float32(0.5)
        high = _HIGH[part]
        result = np.ldexp(high + (high * grown + _LOW[part]), whole).astype(np.float32)
    return np.where(np.isnan(x), x, result)
