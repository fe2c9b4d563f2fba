"""BitNet's weights: -1, 0 and 1 times the mean magnitude of their tensor."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, Unary, buffer, columns, n_rows
from qconv.tensors.floats import as_float32
from qconv.tensors.registry import operation
from qconv.tensors.stacked import StackedCodes
from qconv.types import Rows

_CHUNK = 1 << 20
"""Weights read at a time for the mean."""
_SMALLEST = np.float32(1e-5)


@dataclass(frozen=True, slots=True)
class Ternary(Unary):
    """Each weight over the mean magnitude, rounded and clipped to -1, 0 or 1, times that mean: float32.

    ``prepare`` reads the whole tensor once for ``inverse``, one over its mean.  The mean is correctly rounded;
    torch's, whose sums depend on the number of threads, may be an ulp or two away, which seldom outlasts the rounding
    to 16 bits.
    """

    inverse: np.float32 | None = field(default=None, compare=False)

    @property
    def dtype(self) -> str:
        return "F32"

    def memory(self, rows: int) -> int:
        return Unary.memory(self, rows) + 4 * columns(self) * rows

    def prepare(self) -> Self:
        if self.inverse is not None:
            return self
        inner = self.inner.prepare()
        rows, step = n_rows(inner), max(1, _CHUNK // columns(inner))
        total = 0.0
        for start in range(0, rows, step):
            part = inner.read(start, min(rows, start + step))
            total += float(np.abs(as_float32(part, inner.dtype)).sum(dtype=np.float64))
        mean = np.float32(total / max(1, rows * columns(inner)))
        return replace(self, inner=inner, inverse=np.float32(1) / max(mean, _SMALLEST))

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        if self.inverse is None:
            return self.prepare().read(start, stop, out)
        target = buffer(self, stop - start, out)
        rows = as_float32(self.inner.read(start, stop), self.inner.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # the encoder's check finds what is not finite
            np.multiply(rows, self.inverse, out=target)
            np.clip(np.rint(target, out=target), -1, 1, out=target)
            return np.divide(target, self.inverse, out=target)

    def describe(self) -> str:
        return f"ternary({self.inner.describe()})"


@operation
def ternary(tensor: LazyTensor) -> LazyTensor:
    """Weights as BitNet uses them; a one-dimensional tensor, and one packed as -1, 0 and 1, stays as it is."""
    return tensor if len(tensor.shape) < 2 or _is_ternary(tensor) else Ternary(tensor)


def _is_ternary(tensor: object) -> bool:
    """Whether the tensor is packed ternary numbers times their own scale, which a mean would not give again."""
    while not isinstance(tensor, StackedCodes):
        if not isinstance(tensor, Unary):
            return False
        tensor = tensor.inner
    return tensor.bits == 2
