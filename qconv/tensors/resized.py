"""Learned positions fitted to another number of patches, to the bit as torch computes it on x86-64.

``torch.nn.functional.interpolate(mode="bilinear", align_corners=True)`` of a grid whose channels are last: with ``w``
the products of the weights along both axes, a value is ``w10 * x10``, to which the others are added in the order
``w11 * x11``, ``w01 * x01``, ``w00 * x00``, each product and sum rounded once.  Observed from outside, for
columns in multiples of sixteen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, Unary, buffer, memory_of_rows, refuse
from qconv.tensors.floats import as_float32
from qconv.tensors.registry import operation
from qconv.types import Rows

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ResizedGrid(Unary):
    """Vectors of a square grid, (..., ``old`` · ``old``, columns), between those of one with ``new`` a side."""

    old: int
    new: int

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.inner.shape[:-2], self.new**2, self.inner.shape[-1])

    def memory(self, rows: int) -> int:
        lines = (rows // self.new + 2) * (self.old // self.new + 2)
        columns = self.inner.shape[-1]
        return memory_of_rows(self.inner, min(lines, self.old) * self.old) + 4 * columns * (lines * self.old + 4 * rows)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        if stop == start:
            return target
        low, weights = self._places()
        y, x = np.divmod(np.arange(start, stop), self.new)
        high = np.minimum(low + 1, self.old - 1)
        first, last = int(low[y[0]]), int(high[y[-1]]) + 1
        lines = as_float32(self.inner.read(first * self.old, last * self.old), self.inner.dtype)
        grid = lines.reshape(last - first, self.old, -1)
        over = np.stack([np.float32(1) - weights, weights])
        total = np.zeros_like(target, np.float64)
        for down, right in ((1, 0), (1, 1), (0, 1), (0, 0)):
            weight = (over[down][y] * over[right][x])[:, None].astype(np.float64)
            values = grid[(low, high)[down][y] - first, (low, high)[right][x]]
            total = (total + weight * values).astype(np.float32).astype(np.float64)
        target[...] = total
        return target

    def _places(self) -> tuple[NDArray[np.intp], Float32]:
        """For each new place along a side the old one before it, and how much of the way to the next it is."""
        step = np.float32((self.old - 1) / (self.new - 1)) if self.new > 1 else np.float32(0)
        exact = np.arange(self.new, dtype=np.float32) * step
        low = np.minimum(exact.astype(np.intp), self.old - 1)
        return low, exact - low.astype(np.float32)

    def describe(self) -> str:
        return f"resize_grid[{self.old} to {self.new}]({self.inner.describe()})"


@operation
def resize_grid(tensor: LazyTensor, side: int) -> LazyTensor:
    """Positions of a square grid's places, (1, places, columns), for a grid of ``side`` a side."""
    old = math.isqrt(tensor.shape[-2])
    if old**2 != tensor.shape[-2] or math.prod(tensor.shape[:-2]) != 1 or not 1 <= side <= old:
        raise refuse("resize_grid", tensor, f"it is no square grid of {side} a side or more")
    return tensor if old == side else ResizedGrid(tensor, old, side)
