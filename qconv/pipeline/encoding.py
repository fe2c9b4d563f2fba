"""The one way from a tensor's rows to an output's bytes: rounded as llama.cpp's converter would, then encoded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qconv import blocks
from qconv.tensors import FLOATS, convert, rounds
from qconv.types import Rows

SLICE = 1 << 17
"""Weights worked on between two looks at whether to stop; their float32 values stay in a core's own cache."""


def encode(
    rows: Rows,
    dtype: str,
    intermediate_type: str,
    block_type: str,
    importance: NDArray[np.float32] | None,
    search: str,
    out: NDArray[np.uint8],
    check: Callable[[], None],
) -> None:
    """Fills ``out``, uint8 ``(rows, row bytes)``, with ``rows`` of ``dtype``, rounded to ``intermediate_type``, as
    ``block_type``.

    Works through slices of rows and calls ``check`` before each, which may raise to stop.  Raises blocks.NonFinite
    with the row counted in ``rows``.
    """
    if block_type in FLOATS:
        _convert(np.ascontiguousarray(rows).reshape(-1), dtype, intermediate_type, block_type, out.reshape(-1), check)
        return
    step = max(1, SLICE // max(1, rows.shape[1]))
    for row in range(0, len(rows), step):
        check()
        values = rows[row : row + step]
        if rounds(dtype, intermediate_type):
            values = convert(values, dtype, intermediate_type)
        try:
            blocks.encode(block_type, values, importance, out=out[row : row + step], search=search)
        except blocks.NonFinite as e:
            raise blocks.NonFinite(row + e.row, e.column) from e


def _convert(
    values: Rows, dtype: str, intermediate_type: str, wanted: str, out: NDArray[np.uint8], check: Callable[[], None]
) -> None:
    """Fills ``out`` with the 1-D ``values`` rounded to ``intermediate_type``, as the plain type ``wanted``."""
    size = out.nbytes // max(1, values.size)
    for start in range(0, values.size, SLICE):
        check()
        piece, kind = values[start : start + SLICE], dtype
        if rounds(kind, intermediate_type):
            piece, kind = convert(piece, kind, intermediate_type), intermediate_type
        piece = convert(piece, kind, wanted)
        out[start * size : (start + piece.size) * size] = piece.view(np.uint8)
