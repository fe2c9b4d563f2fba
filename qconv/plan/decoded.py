"""Recipes whose rows are stored in blocks, decoded, for what is quantized a second time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.types import Recipe, Rows, TensorReader


@dataclass(frozen=True, slots=True)
class Decoded:
    """``blocks``, a recipe of a block type, as float32: a ``qconv.types.Recipe``."""

    blocks: Recipe

    @property
    def shape(self) -> tuple[int, ...]:
        return self.blocks.shape

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def sources(self) -> tuple[str, ...]:
        return self.blocks.sources

    @property
    def held(self) -> int:
        return self.blocks.held

    def read(self, reader: TensorReader, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        """Rows ``[start, stop)``, float32.  Raises UnsupportedError for a type qconv cannot decode."""
        from qconv import blocks

        rows = self.blocks.read(reader, start, stop, out)
        return blocks.decode(self.blocks.dtype, np.ascontiguousarray(rows).view(np.uint8))

    def describe(self) -> str:
        return f"decoded from {self.blocks.dtype}: {self.blocks.describe()}"
