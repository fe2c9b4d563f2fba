"""Parts of a matrix' rows, each multiplied by a number of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, Unary, buffer, columns, refuse
from qconv.tensors.floats import as_float32
from qconv.tensors.registry import operation
from qconv.types import Rows


@dataclass(frozen=True, slots=True)
class ScaledRows(Unary):
    """``inner`` in float32, ``counts[i]`` rows after those before times ``factors[i]``."""

    counts: tuple[int, ...]
    factors: tuple[float, ...]

    @property
    def dtype(self) -> str:
        return "F32"

    def memory(self, rows: int) -> int:
        return Unary.memory(self, rows) + 4 * columns(self) * rows + 32 * rows

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        part = np.searchsorted(np.cumsum(self.counts), np.arange(start, stop), "right")
        factors = np.array(self.factors, np.float32)[part][:, None]
        with np.errstate(over="ignore", invalid="ignore"):  # the encoder's check finds what is not finite
            np.multiply(as_float32(self.inner.read(start, stop), self.inner.dtype), factors, out=target)
        return target

    def describe(self) -> str:
        parts = ", ".join(f"{count} by {factor}" for count, factor in zip(self.counts, self.factors, strict=True))
        return f"scale_parts {parts}({self.inner.describe()})"


@operation
def scale_parts(tensor: LazyTensor, *counts_and_factors: float) -> LazyTensor:
    """A number of rows and their factor in turn, for all rows; factors are rounded to float32 as torch does."""
    counts = tuple(int(n) for n in counts_and_factors[::2])
    if len(tensor.shape) != 2 or sum(counts) != tensor.shape[0] or min(counts) < 0:
        raise refuse("scale_parts", tensor, f"it has not the {sum(counts)} rows of its parts")
    return ScaledRows(tensor, counts, tuple(float(x) for x in counts_and_factors[1::2]))
