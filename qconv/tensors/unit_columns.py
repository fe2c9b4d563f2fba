"""Columns of length one: an output layer that its model normalizes each time it uses it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, Unary, buffer, columns, n_rows, refuse
from qconv.tensors.floats import as_float32
from qconv.tensors.registry import operation
from qconv.types import Rows

_CHUNK = 1 << 20
"""Weights read at a time for the lengths."""
_SMALL = np.float32(1e-7)
"""Added to each length, as the model does."""


@dataclass(frozen=True, slots=True)
class UnitColumns(Unary):
    """``inner`` in float32, each column over its length.

    ``prepare`` reads the whole tensor once for the ``lengths``.  Squares are added row by row in float32, as torch's
    norm along the first dimension adds them.
    """

    lengths: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def resident_bytes(self) -> int:
        return self.inner.resident_bytes + 4 * columns(self)

    def memory(self, rows: int) -> int:
        return Unary.memory(self, rows) + 4 * columns(self) * rows

    def prepare(self) -> Self:
        if self.lengths is not None:
            return self
        inner = self.inner.prepare()
        rows, step = n_rows(inner), max(1, _CHUNK // columns(inner))
        total = np.zeros(columns(inner), np.float32)
        for start in range(0, rows, step):
            part = as_float32(inner.read(start, min(rows, start + step)), inner.dtype)
            with np.errstate(over="ignore", invalid="ignore"):  # the encoder's check finds what is not finite
                squares = np.square(part)
                squares[0] += total
                np.add.reduce(squares, axis=0, out=total)  # along the first axis: one row after another
        return replace(self, inner=inner, lengths=np.sqrt(total) + _SMALL)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        if self.lengths is None:
            return self.prepare().read(start, stop, out)
        target = buffer(self, stop - start, out)
        rows = as_float32(self.inner.read(start, stop), self.inner.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.divide(rows, self.lengths, out=target)

    def describe(self) -> str:
        return f"unit_columns({self.inner.describe()})"


@operation
def unit_columns(tensor: LazyTensor) -> LazyTensor:
    """Each column over its length."""
    if len(tensor.shape) != 2:
        raise refuse("unit_columns", tensor, "it is not a matrix")
    return UnitColumns(tensor)
