"""Numbers from one storage type to another: widening to float32, exact for 8 and 16 bits, and rounding back."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.dtypes import FLOATS, FLOATS8
from qconv.types import Rows

_PIECE = 1 << 16
"""Weights at a time: looking up turns each into an 8-byte index for as long as it takes."""


def as_float32(rows: Rows, dtype: str) -> NDArray[np.float32]:
    """Rows of a plain type as float32, ``rows`` itself where they are; F64 and integers of over 24 bits are rounded."""
    if dtype == "F32":
        return rows
    out = np.empty(rows.shape, np.float32)
    to_float32(dtype, rows, out)
    return out


def to_float32(dtype: str, rows: Rows, out: NDArray[np.float32]) -> None:
    """Writes rows of a plain type, of any layout, into ``out``, contiguous and of the same shape."""
    if dtype in FLOATS8:
        table, source, target = _table(dtype), rows.reshape(-1), out.reshape(-1)
        for at in range(0, source.size, _PIECE):
            piece = slice(at, at + _PIECE)
            # "clip" because the default checks every index first; no byte can be out of range
            np.take(table, source[piece], out=target[piece], mode="clip")
    elif dtype == "BF16":
        np.left_shift(rows, 16, out=out.view(np.uint32), dtype=np.uint32)
    else:
        with np.errstate(over="ignore"):  # an F64 beyond float32 is infinite there
            np.copyto(out, rows, casting="unsafe")


def from_float32(rows: NDArray[np.float32], dtype: str) -> Rows:
    """float32 rows rounded to F32 (as they are), F16 or BF16: to nearest, ties to even; NaN stays NaN, made quiet."""
    if dtype == "F16":
        with np.errstate(over="ignore"):
            return rows.astype(np.float16)
    if dtype == "BF16":
        bits = rows.view(np.uint32)
        half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        rounded = ((bits + half) >> np.uint32(16)).astype(np.uint16)
        nan = np.isnan(rows)
        if nan.any():
            rounded[nan] = (bits[nan] >> np.uint32(16)).astype(np.uint16) | np.uint16(64)
        return rounded
    return rows


_EXPONENTS = {"F32": (np.uint32, 0x7F800000), "F16": (np.uint16, 0x7C00), "BF16": (np.uint16, 0x7F80)}
"""How rows of each type are looked at as bits, and which of these are all set in NaN and infinity."""


def are_finite(rows: Rows, dtype: str) -> bool:
    """Whether rows of F32, F16 or BF16, contiguous, hold neither NaN nor infinity."""
    kind, mask = _EXPONENTS[dtype]
    bits = rows.reshape(-1).view(kind)
    pieces = (bits[at : at + _PIECE] for at in range(0, bits.size, _PIECE))  # which stay in a core's own cache
    return all(int((piece & kind(mask)).max()) != mask for piece in pieces)


def convert(rows: Rows, dtype: str, wanted: str) -> Rows:
    """Rows of F32, F16 or BF16 in another of these types."""
    return rows if wanted == dtype else from_float32(as_float32(rows, dtype), wanted)


def rounds(dtype: str, wanted: str) -> bool:
    """Whether some values of ``dtype`` are no values of ``wanted``, so that ``convert`` rounds them."""
    return dtype != wanted and wanted in ("F16", "BF16") and dtype in FLOATS


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
