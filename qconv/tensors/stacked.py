"""Numbers packed so that the parts of a matrix, cut along its rows, share the bits of one word: BitNet's and HQQ's.

Row ``r`` of the matrix is in row ``r % n`` of the words, ``n`` their number, at the bit that its part says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, Unary, buffer, columns, memory_of_rows
from qconv.types import Rows


@dataclass(frozen=True, slots=True)
class StackedCodes(Unary):
    """``count`` rows of numbers of ``bits`` bits in ``inner``, ``(n, columns)`` of integers, as U8.

    ``shifts``: of each part its lowest bit.
    """

    shifts: tuple[int, ...]
    bits: int
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.count, columns(self.inner))

    @property
    def dtype(self) -> str:
        return "U8"

    def memory(self, rows: int) -> int:
        return memory_of_rows(self.inner, rows) + 8 * rows * columns(self)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        n, row = self.inner.shape[0], start
        while row < stop:
            part, first = divmod(row, n)
            last = min(n, first + stop - row)
            words = self.inner.read(first, last)
            target[row - start : row - start + last - first] = (words >> self.shifts[part]) & ((1 << self.bits) - 1)
            row += last - first
        return target

    def describe(self) -> str:
        return self.inner.describe()


@dataclass(frozen=True, slots=True)
class RepeatedRow(Unary):
    """The one row of ``inner``, ``count`` times."""

    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.count, columns(self.inner))

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        target[...] = self.inner.read(0, 1)
        return target

    def describe(self) -> str:
        return self.inner.describe()


def bitnet_codes(packed: LazyTensor) -> StackedCodes:
    """BitNet's fields of two bits, a quarter of the rows each: -1, 0 and 1 are stored as 0, 1 and 2."""
    return StackedCodes(packed, (0, 2, 4, 6), 2, 4 * packed.shape[0])
