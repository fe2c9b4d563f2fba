"""16-bit weights that lie on Q4_0's grid: training for that type leaves them so, as Gemma's "qat-q4_0-unquantized".

Each of 32 weights is a multiple of one scale from -8 to 7, rounded to the type it is stored in.  ggml's encoder takes
the weight of largest magnitude for -8 times the scale; where that multiple does not occur, its grid is another, and the
weights are not what was trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv import blocks
from qconv.errors import WeightError
from qconv.tensors.base import LazyTensor, Unary, buffer, bytes_of_rows, columns, memory_of_rows, n_rows
from qconv.tensors.floats import as_float32
from qconv.types import Rows

BLOCK_TYPE = "Q4_0"
_BLOCK, _LEVELS = 32, 16
_STEPS = {"BF16": (2.0**-7, 2.0**-133), "F16": (2.0**-10, 2.0**-24)}
"""From one number to the next, for each power of two, and at least."""
_PLACES = 8
"""Rows that are looked at."""


@dataclass(frozen=True, slots=True)
class OnGrid(Unary):
    """``inner``'s weights as blocks of Q4_0 that give every one of them back."""

    @property
    def dtype(self) -> str:
        return BLOCK_TYPE

    def memory(self, rows: int) -> int:
        return memory_of_rows(self.inner, rows) + 2 * bytes_of_rows(self, rows)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        """Raises WeightError for a block off the grid."""
        target = buffer(self, stop - start, out)
        encoded, on_grid = _encode(self.inner.read(start, stop), self.inner.dtype)
        if not on_grid.all():
            raise _off_grid(start, on_grid)
        target[...] = encoded
        return target

    def describe(self) -> str:
        return f"on a grid of {BLOCK_TYPE}: {self.inner.describe()}"


def may_be_on_grid(tensor: LazyTensor) -> bool:
    """Whether a tensor is a matrix in 16 bits, or several, whose rows are whole blocks."""
    return tensor.dtype in _STEPS and len(tensor.shape) > 1 and columns(tensor) % _BLOCK == 0 and all(tensor.shape)


def is_on_grid(tensor: LazyTensor) -> bool:
    """Whether a few rows, evenly spaced, lie on the grid, not all of them zeros.  Stops at the first that does not."""
    rows, seen = n_rows(tensor), False
    for place in sorted({rows * i // _PLACES for i in range(_PLACES)} | {rows - 1}):
        row = tensor.read(place, place + 1)
        if any(np.unique(block).size > _LEVELS for block in row.reshape(-1, _BLOCK)):
            return False
        if not _encode(row, tensor.dtype)[1].all():
            return False
        seen = seen or bool(as_float32(row, tensor.dtype).any())
    return seen


def _encode(rows: Rows, dtype: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    return blocks.encode_on_grid(np.ascontiguousarray(rows), *_STEPS[dtype])


def _off_grid(first: int, on_grid: NDArray[np.bool_]) -> WeightError:
    row, block = divmod(int(on_grid.argmin()), on_grid.shape[1])
    message = (
        f"row {first + row} is off the grid of {BLOCK_TYPE}, from column {block * _BLOCK} on; other rows are on it"
    )
    return WeightError(message, hint="--tensor-type NAME=bf16, with the tensor's name, leaves it in 16 bits")
