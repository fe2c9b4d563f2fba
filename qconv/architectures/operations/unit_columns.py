"""Columns of length one: an output layer that its model normalizes each time it uses it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qconv.architectures.operations.base import Derived, as_float32, buffer, columns, n_rows, refuse
from qconv.architectures.registry import operation
from qconv.types import Recipe, Rows, TensorReader

_CHUNK = 1 << 20
"""Weights read at a time for the lengths."""
_SMALL = np.float32(1e-7)
"""Added to each length, as the model does."""


@dataclass(frozen=True, slots=True)
class UnitColumns(Derived):
    """``inner`` in float32, each column over its length.

    The whole tensor is read once for the lengths, with the first rows that are asked for; other threads wait.  Squares
    are added row by row in float32, as torch's norm along the first dimension adds them.
    """

    lengths: list[NDArray[np.float32]] = field(default_factory=list, compare=False)
    lock: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def held(self) -> int:
        return max(self.inner.held, 4 * columns(self.inner))

    def read(self, reader: TensorReader, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        with self.lock:
            if not self.lengths:
                self.lengths.append(np.sqrt(self._squares(reader)) + _SMALL)
        target = buffer(self, stop - start, out)
        rows = as_float32(self.inner.read(reader, start, stop), self.inner.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # the encoder's check finds what is not finite
            return np.divide(rows, self.lengths[0], out=target)

    def _squares(self, reader: TensorReader) -> NDArray[np.float32]:
        """The sum of each column's squares."""
        rows, step = n_rows(self.inner), max(1, _CHUNK // columns(self.inner))
        total = np.zeros(columns(self.inner), np.float32)
        for start in range(0, rows, step):
            part = as_float32(self.inner.read(reader, start, min(rows, start + step)), self.inner.dtype)
            with np.errstate(over="ignore", invalid="ignore"):
                squares = np.square(part)
                squares[0] += total
                np.add.reduce(squares, axis=0, out=total)  # along the first axis: one row after another
        return total

    def describe(self) -> str:
        return f"unit_columns({self.inner.describe()})"


@operation
def unit_columns(recipe: Recipe) -> Recipe:
    """Each column over its length."""
    if len(recipe.shape) != 2:
        raise refuse("unit_columns", recipe, "it is no matrix")
    return UnitColumns(recipe)
