"""The one way from a tensor's rows to an output's bytes: rounded as llama.cpp's converter would, then encoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv import blocks
from qconv.errors import WeightError
from qconv.plan import NonFinite
from qconv.tensors import FLOATS, are_finite, array_type, as_float32, convert, is_blocks, rounds
from qconv.types import Rows

SLICE = 1 << 17
"""Weights worked on between two looks at whether to stop; their float32 values stay in a core's own cache."""


_AS_F32 = "keep the tensor in another type: --tensor-type NAME=f32"


@dataclass(frozen=True, slots=True)
class Overflow:
    """Finite weights that a 16-bit type holds as infinity: how many, and the greatest of them without its sign."""

    count: int = 0
    greatest: float = 0.0

    def __add__(self, other: Overflow) -> Overflow:
        return Overflow(self.count + other.count, max(self.greatest, other.greatest))


def encode(
    rows: Rows,
    dtype: str,
    intermediate_type: str,
    block_type: str,
    context: blocks.EncodeContext,
    out: NDArray[np.uint8],
    check: Callable[[], None],
    non_finite: NonFinite,
) -> Overflow:
    """Fills ``out``, uint8 ``(rows, row bytes)``, with ``rows`` of ``dtype``, rounded to ``intermediate_type``, as
    ``block_type``; ``context`` is what its encoder is told.

    Works through slices of rows and calls ``check`` before each, which may raise to stop.  Raises blocks.NonFinite
    with the row counted in ``rows``, unless ``non_finite`` keeps them in a plain type; WeightError for weights too
    large for a 16-bit type in a file that is to hold no infinity at all.
    """
    step = max(1, SLICE // max(1, rows.shape[1]))
    if block_type in FLOATS:
        overflow = Overflow()
        for row in range(0, len(rows), step):
            check()
            piece = np.ascontiguousarray(rows[row : row + step])
            if non_finite != "keep":
                require_finite(piece, dtype, row)
            target = out[row : row + step].reshape(-1)
            overflow += _convert(piece.reshape(-1), dtype, intermediate_type, block_type, target)
            if overflow.count and non_finite == "refuse":
                raise WeightError(f"holds {overflow.greatest:g}, too large for {block_type}", hint=_AS_F32)
        return overflow
    if context.factor is not None:
        step = max(blocks.TILE_ROWS, step - step % blocks.TILE_ROWS)
    for row in range(0, len(rows), step):
        check()
        values = rows[row : row + step]
        try:
            if rounds(dtype, intermediate_type):
                values = blocks.encode(intermediate_type, values).view(array_type(intermediate_type))
            blocks.encode(block_type, values, out=out[row : row + step], context=context)
        except blocks.NonFinite as e:
            before = float(as_float32(np.ascontiguousarray(rows[row + e.row]), dtype)[e.column])
            raise _located(row + e.row, e.column, before, intermediate_type) from e
    return Overflow()


def require_finite(rows: Rows, dtype: str, first: int = 0) -> None:
    """Raises blocks.NonFinite for the first of ``rows``, counted from ``first``, that holds NaN or infinity.

    Of blocks the scales are looked at, of integers nothing.
    """
    if is_blocks(dtype) and rows.size:
        bad = blocks.first_without_number(dtype, rows)
        if bad is not None:
            raise blocks.NonFinite(first + bad, 0)
    elif dtype in FLOATS and not are_finite(rows, dtype):
        row, column = divmod(int(np.isfinite(as_float32(rows, dtype)).argmin()), rows.shape[1])
        raise blocks.NonFinite(first + row, column)


def _located(row: int, column: int, before: float, intermediate_type: str) -> blocks.NonFinite:
    """The error for a weight that is not finite, or is not any more in the type it is rounded to."""
    error = blocks.NonFinite(row, column)
    if np.isfinite(before):
        error.message = f"row {row}, column {column} is {before:g}, which {intermediate_type} does not hold"
        error.hint = (
            f"the checkpoint's matrices are {intermediate_type}; this tensor is not: save all of it in BF16 or F32"
        )
    return error


def _convert(values: Rows, dtype: str, intermediate_type: str, wanted: str, out: NDArray[np.uint8]) -> Overflow:
    """Fills ``out`` with the 1-D ``values`` rounded to ``intermediate_type``, as the plain type ``wanted``."""
    piece, kind = values, dtype
    if rounds(kind, intermediate_type):
        piece, kind = convert(piece, kind, intermediate_type), intermediate_type
    piece = convert(piece, kind, wanted)
    out[:] = piece.view(np.uint8)
    if not (rounds(dtype, intermediate_type) or rounds(kind, wanted)) or are_finite(piece, wanted):
        return Overflow()
    before = np.abs(as_float32(values, dtype))
    lost = before[np.isfinite(before) & ~np.isfinite(as_float32(piece, wanted))]
    return Overflow(int(lost.size), float(lost.max(initial=0)))
