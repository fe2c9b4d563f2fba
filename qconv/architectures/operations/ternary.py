"""BitNet's weights: -1, 0 and 1 times the mean magnitude of their tensor."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qconv.architectures.operations.base import Derived, as_float32, buffer, columns, n_rows
from qconv.architectures.registry import operation
from qconv.types import Recipe, Rows, TensorReader

_CHUNK = 1 << 20
"""Weights read at a time for the mean."""
_SMALLEST = np.float32(1e-5)


@dataclass(frozen=True, slots=True)
class Ternary(Derived):
    """Each weight over the mean magnitude, rounded and clipped to -1, 0 or 1, times that mean: float32.

    The whole tensor is read once for its mean, with the first rows that are asked for; other threads wait.  The mean is
    correctly rounded; torch's, whose sums depend on the number of threads, may be an ulp or two away, which seldom
    outlasts the rounding to 16 bits.
    """

    inverse: list[np.float32] = field(default_factory=list, compare=False)
    lock: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    @property
    def dtype(self) -> str:
        return "F32"

    def read(self, reader: TensorReader, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        with self.lock:
            if not self.inverse:
                self.inverse.append(np.float32(1) / max(self._mean(reader), _SMALLEST))
        inverse = self.inverse[0]
        target = buffer(self, stop - start, out)
        rows = as_float32(self.inner.read(reader, start, stop), self.inner.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # the encoder's check finds what is not finite
            np.multiply(rows, inverse, out=target)
            np.clip(np.rint(target, out=target), -1, 1, out=target)
            return np.divide(target, inverse, out=target)

    def _mean(self, reader: TensorReader) -> np.float32:
        rows, step = n_rows(self.inner), max(1, _CHUNK // columns(self.inner))
        total = 0.0
        for start in range(0, rows, step):
            part = self.inner.read(reader, start, min(rows, start + step))
            total += float(np.abs(as_float32(part, self.inner.dtype)).sum(dtype=np.float64))
        return np.float32(total / max(1, rows * columns(self.inner)))

    def describe(self) -> str:
        return f"ternary({self.inner.describe()})"


@operation
def ternary(recipe: Recipe) -> Recipe:
    """Weights as BitNet uses them; a one-dimensional tensor stays as it is."""
    return recipe if len(recipe.shape) < 2 else Ternary(recipe)
