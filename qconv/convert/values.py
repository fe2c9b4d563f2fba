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


def as_type(rows: Rows, dtype: str, wanted: str) -> tuple[Rows, str]:
    """Rows of one plain type in another, and that type."""
    return (rows, dtype) if wanted == dtype else (narrowed(widened(rows, dtype), wanted), wanted)


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
    step = max(1, SLICE // max(1, rows.shape[1]))
    for row in range(0, len(rows), step):
        check()
        values, kind = rows[row : row + step], dtype
        if loses(kind, stored):
            values, kind = as_type(values, kind, stored)
        place = out[row : row + step]
        if block_type in FLOATS:
            values, _ = as_type(values, kind, block_type)
            place[:] = np.ascontiguousarray(values).view(np.uint8)
            continue
        try:
            blocks.encode(block_type, values, importance, out=place, search=search)
        except blocks.NonFinite as e:
            raise blocks.NonFinite(row + e.row, e.column) from e
