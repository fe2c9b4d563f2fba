"""Stored numbers as float32, exactly: 8-bit floats by table, small integers and 16-bit floats by cast."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from qconv.types import Rows

EIGHT_BIT = ("F8_E4M3", "F8_E5M2", "F8_E8M0")
WIDENED = (*EIGHT_BIT, "F32", "F16", "BF16", "I8")
"""Types ``to_float32`` takes."""

_PIECE = 1 << 16
"""Weights at a time: looking up turns each into an 8-byte index for as long as it takes."""


def to_float32(dtype: str, rows: Rows, out: NDArray[np.float32]) -> None:
    """Writes rows as ``TensorReader.read`` gives them into ``out``, contiguous and of the same shape."""
    if dtype in EIGHT_BIT:
        table, source, target = _table(dtype), rows.reshape(-1), out.reshape(-1)
        for at in range(0, source.size, _PIECE):
            piece = slice(at, at + _PIECE)
            # "clip" because the default checks every index first; no byte can be out of range
            np.take(table, source[piece], out=target[piece], mode="clip")
    elif dtype == "BF16":
        np.left_shift(rows, 16, out=out.view(np.uint32), dtype=np.uint32)
    else:
        np.copyto(out, rows)


@functools.cache
def _table(dtype: str) -> NDArray[np.float32]:
    """All 256 values of an 8-bit float (OCP 8-bit floating point specification 1.0; E8M0: OCP microscaling formats)."""
    codes = np.arange(256)
    if dtype == "F8_E8M0":
        return np.where(codes == 255, np.nan, np.ldexp(1.0, codes - 127)).astype(np.float32)
    mantissa_bits, bias = (3, 7) if dtype == "F8_E4M3" else (2, 15)
    steps = 1 << mantissa_bits
    exponent, mantissa = (codes & 127) >> mantissa_bits, codes & (steps - 1)
    normal = exponent > 0
    values = np.ldexp(mantissa + normal * steps, np.maximum(exponent, 1) - bias - mantissa_bits)
    if dtype == "F8_E4M3":  # no infinities, one NaN
        values = np.where((codes & 127) == 127, np.nan, values)
    else:
        values = np.where(exponent == 31, np.where(mantissa, np.nan, np.inf), values)
    return np.where(codes & 128, -values, values).astype(np.float32)
