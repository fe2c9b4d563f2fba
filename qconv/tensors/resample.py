"""Learned positions of a grid of patches, resampled for a grid of another size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, RowRange, Unary, buffer, columns, memory_of_rows, refuse
from qconv.tensors.floats import as_float32
from qconv.tensors.registry import operation
from qconv.types import Rows

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Resampled(Unary):
    """A grid of ``old`` by ``old`` vectors as one of ``new`` by ``new``, whose corners are the same.

    In float32 as torch's ``interpolate`` does it on x86-64 (bilinear, ``align_corners``): with ``a`` and ``b`` the
    neighbours in the row above, ``c`` and ``d`` those below, the fused sum ``w_a a + (w_b b + (w_d d + w_c c))``.
    """

    old: int
    new: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.inner.shape[:-2], self.new * self.new, self.inner.shape[-1])

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def row_group(self) -> int:
        return self.new

    def memory(self, rows: int) -> int:
        wide = 8 * columns(self) * self.new  # one row of the grid, in float64
        return memory_of_rows(self.inner, 2 * self.old) + 4 * columns(self) * 2 * self.old + 4 * wide

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        at = start
        while at < stop:
            row, first = divmod(at, self.new)
            count = min(stop - at, self.new - first)
            target[at - start : at - start + count] = self._row(row)[first : first + count]
            at += count
        return target

    def reads(self, start: int, stop: int) -> Iterator[RowRange]:
        if start == stop:
            return
        below, _, _ = self._neighbours()
        first, last = int(below[start // self.new]), int(below[-(-stop // self.new) - 1])
        yield RowRange(self.inner, first * self.old, min(last + 2, self.old) * self.old)

    def describe(self) -> str:
        return f"resample_grid {self.new}({self.inner.describe()})"

    def _neighbours(self) -> tuple[NDArray[np.intp], NDArray[np.intp], Float32]:
        """Of each new line the old one before and after it, and the latter's weight."""
        step = np.float32(self.old - 1) / np.float32(max(1, self.new - 1))
        place = step * np.arange(self.new, dtype=np.float32)
        before = np.minimum(place.astype(np.intp), self.old - 1)
        return before, np.minimum(before + 1, self.old - 1), place - before.astype(np.float32)

    def _row(self, row: int) -> Float32:
        """All vectors of one row of the new grid."""
        before, after, weights = self._neighbours()
        upper, lower = (self._old_row(int(lines[row])) for lines in (before, after))
        below, right = weights[row], weights[:, None]
        above, left = np.float32(1) - below, np.float32(1) - right
        value: Float32 = (below * left) * lower[before]
        for weight, vectors in (
            (below * right, lower[after]),
            (above * right, upper[after]),
            (above * left, upper[before]),
        ):
            value = (np.multiply(weight, vectors, dtype=np.float64) + value).astype(np.float32)
        return value

    def _old_row(self, row: int) -> Float32:
        return as_float32(self.inner.read(row * self.old, (row + 1) * self.old), self.inner.dtype)


@operation
def resample_grid(tensor: LazyTensor, side: int) -> LazyTensor:
    """Vectors of a square grid, (…, side · side, columns), for one of another ``side``."""
    count = tensor.shape[-2]
    old = math.isqrt(count)
    if old * old != count or side <= 0 or math.prod(tensor.shape[:-2]) != 1:
        raise refuse("resample_grid", tensor, f"{count} vectors are no square grid")
    return tensor if side == old else Resampled(tensor, old, side)
