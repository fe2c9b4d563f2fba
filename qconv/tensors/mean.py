"""A vector less its mean, to the bit as torch computes it on x86-64.

torch adds float32 up in four rows of eight lanes each, in levels that take sixteen rows or more together before the
next; what is left over is added last.  Observed from outside, for up to a thousand values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, Unary, buffer, refuse
from qconv.tensors.floats import as_float32, convert, from_float32
from qconv.tensors.registry import operation
from qconv.types import Rows

Float32 = NDArray[np.float32]

_LANES, _ROWS, _LEVELS = 8, 4, 4


def _cascade(rows: Float32) -> Float32:
    """The sum of ``rows``, of whatever shape each is, level by level."""
    bits = max(4, (1 if len(rows) <= 2 else (len(rows) - 1).bit_length()) // _LEVELS)
    levels = np.zeros((_LEVELS, *rows.shape[1:]), np.float32)
    for count, row in enumerate(rows, 1):
        levels[0] += row
        for level in range(1, _LEVELS):
            if count % (1 << bits * level):
                break
            levels[level] += levels[level - 1]
            levels[level - 1] = 0
    for level in range(1, _LEVELS):
        levels[0] += levels[level]
    total: Float32 = levels[0]
    return total


def _sum_lanes(values: Float32) -> Float32:
    """One sum for each column: four at a time, the rest after them."""
    whole = len(values) // _ROWS * _ROWS
    sums = _cascade(values[:whole].reshape(-1, _ROWS, values.shape[1]))
    for row in values[whole:]:
        sums[0] += row
    for other in sums[1:]:
        sums[0] += other
    total: Float32 = sums[0]
    return total


def mean(values: Float32) -> np.float32:
    """The mean of a vector."""
    whole = len(values) // _LANES * _LANES
    if not whole:
        return np.float32(_sum_lanes(values[:, None])[0] / np.float32(len(values)))
    total = np.float32(0)
    for value in (*values[whole:], *_sum_lanes(values[:whole].reshape(-1, _LANES))):
        total += value
    return np.float32(total / np.float32(len(values)))


@dataclass(frozen=True, slots=True)
class MeanSubtracted(Unary):
    """``inner``, of one dimension, less its mean; 16-bit floats are rounded after each step, as torch keeps them."""

    @property
    def dtype(self) -> str:
        return "F32"

    def memory(self, rows: int) -> int:
        return Unary.memory(self, rows) + 16 * self.shape[0] * rows

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        for row, values in zip(target, as_float32(self.inner.read(start, stop), self.inner.dtype), strict=True):
            row[...] = self._kept(values - self._kept(mean(values).reshape(1)))
        return target

    def _kept(self, values: Float32) -> Float32:
        """Rounded to the type of the source."""
        return convert(from_float32(values, self.inner.dtype), self.inner.dtype, "F32")

    def describe(self) -> str:
        return f"subtract_mean({self.inner.describe()})"


@operation
def subtract_mean(tensor: LazyTensor) -> LazyTensor:
    """A vector less its mean, as for a bias of which only differences count."""
    if len(tensor.shape) != 1 or not tensor.shape[0]:
        raise refuse("subtract_mean", tensor, "it has not one dimension")
    return MeanSubtracted(tensor)
