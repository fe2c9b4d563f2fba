"""Recipes whose rows are stored in blocks, decoded, for what is quantized a second time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.architectures.operations.base import Derived
from qconv.types import Rows, TensorReader


@dataclass(frozen=True, slots=True)
class Decoded(Derived):
    """A recipe of a block type, as float32: a ``qconv.types.Recipe``."""

    @property
    def dtype(self) -> str:
        return "F32"

    def read(self, reader: TensorReader, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        """Rows ``[start, stop)``, float32.  Raises UnsupportedError for a type qconv cannot decode."""
        from qconv import blocks

        rows = self.inner.read(reader, start, stop, out)
        return blocks.decode(self.inner.dtype, np.ascontiguousarray(rows).view(np.uint8))

    def describe(self) -> str:
        return f"decoded from {self.inner.dtype}: {self.inner.describe()}"
