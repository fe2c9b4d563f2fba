"""Rows of a block type as float32, for what is quantized a second time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv import blocks
from qconv.tensors.base import Unary
from qconv.types import Rows


@dataclass(frozen=True, slots=True)
class Dequantized(Unary):
    """A tensor of a block type, as float32."""

    @property
    def dtype(self) -> str:
        return "F32"

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        """Rows ``[start, stop)``, float32.  Raises UnsupportedError for a type qconv cannot decode."""
        rows = self.inner.read(start, stop)
        return blocks.decode(self.inner.dtype, np.ascontiguousarray(rows).view(np.uint8))

    def describe(self) -> str:
        return f"decoded from {self.inner.dtype}: {self.inner.describe()}"
