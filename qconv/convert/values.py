"""Plain floating-point rows: widening, rounding, and the one way from a recipe's rows to an output's bytes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qconv import blocks
from qconv.types import Rows

FLOATS = ("F32", "F16", "BF16")

SLICE = 1 << 17
"""Weights worked on between two looks at whether to stop; their float32 values stay in a core's own cache."""


def widened(rows: Rows, dtype: str) -> NDArray[np.float32]:
    """Rows of F32, F16 or BF16 as float32; exact."""
    if dtype == "BF16":
        wide: NDArray[np.float32] = (rows.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return wide
    return rows.astype(np.float32, copy=False)


def narrowed(rows: NDArray[np.float32], dtype: str) -> Rows:
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


def as_type(rows: Rows, dtype: str, wanted: str) -> Rows:
    """Rows of one plain type in another."""
    return rows if wanted == dtype else narrowed(widened(rows, dtype), wanted)


def loses(dtype: str, stored: str) -> bool:
    """Whether values of ``dtype`` are not all values of ``stored`` too, so that storing them rounds."""
    return dtype != stored and stored in ("F16", "BF16") and dtype in FLOATS


def encode(
    rows: Rows,
    dtype: str,
    stored: str,
    block_type: str,
    importance: NDArray[np.float32] | None,
    search: str,
    out: NDArray[np.uint8],
    check: Callable[[], None],
) -> None:
    """Fills ``out``, uint8 ``(rows, row bytes)``, with ``rows`` of ``dtype`` rounded to ``stored``, as ``block_type``.

    Works through slices of rows and calls ``check`` before each, which may raise to stop.  Raises blocks.NonFinite
    with the row counted in ``rows``.
    """
    if block_type in FLOATS:
        _convert(np.ascontiguousarray(rows).reshape(-1), dtype, stored, block_type, out.reshape(-1), check)
        return
    step = max(1, SLICE // max(1, rows.shape[1]))
    for row in range(0, len(rows), step):
        check()
        values = rows[row : row + step]
        if loses(dtype, stored):
            values = as_type(values, dtype, stored)
        try:
            blocks.encode(block_type, values, importance, out=out[row : row + step], search=search)
        except blocks.NonFinite as e:
            raise blocks.NonFinite(row + e.row, e.column) from e


def _convert(
    values: Rows, dtype: str, stored: str, wanted: str, out: NDArray[np.uint8], check: Callable[[], None]
) -> None:
    """Fills ``out`` with the 1-D ``values`` rounded to ``stored``, as the plain type ``wanted``."""
    size = out.nbytes // max(1, values.size)
    for start in range(0, values.size, SLICE):
        check()
        piece, kind = values[start : start + SLICE], dtype
        if loses(kind, stored):
            piece, kind = as_type(piece, kind, stored), stored
        piece = as_type(piece, kind, wanted)
        out[start * size : (start + piece.size) * size] = piece.view(np.uint8)
