"""What MXFP4 and NVFP4 share: quants that are 4-bit floats (e2m1 of the OCP microscaling formats 1.0).

Their values are doubled here, as in ggml, so that they are integers; scales are halved for it.
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks import lanes
from qconv.blocks.lanes import bits, inline, join, select, to_float, widen
from qconv.blocks.unpack import pick

_MAGNITUDES = (0, 1, 2, 3, 4, 6, 8, 12)
_VALUES = (*_MAGNITUDES, *(-value for value in _MAGNITUDES))
_TABLE = tuple(value + 12 for value in _VALUES)


@inline
def quantize(v, scale):
    """Quants, int32, of the values times ``scale`` nearest to ``v``, the lesser of two equally near."""
    magnitude = lanes.abs(v)
    q, error = bits(v) & 0, magnitude
    for k in range(1, 8):
        off = lanes.abs(np.float32(_MAGNITUDES[k]) * scale - magnitude)
        closer = off < error
        q, error = select(closer, k, q), select(closer, off, error)
    return select((q != 0) & (v < 0.0), q | 8, q)


@inline
def dequantize(both):
    """Values of the low and then the high four bits of bytes."""
    return to_float(widen(pick(join(both & 15, both >> 4), _TABLE)) - 12)
