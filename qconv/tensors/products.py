"""Products of two lists of weights that only ever count together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import Combined, LazyTensor, buffer, n_rows, names, refuse
from qconv.tensors.floats import as_float32
from qconv.tensors.registry import combination
from qconv.types import Rows, shape_text


@dataclass(frozen=True, slots=True)
class Multiplied(Combined):
    """The values of two lists, one by one, multiplied in float32."""

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.parts[0].shape[-1],)

    def memory(self, rows: int) -> int:
        return 4 * self.shape[0] + sum(part.memory(1) for part in self.parts)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        one, other = (as_float32(part.read(start, stop), part.dtype) for part in self.parts)
        np.multiply(one, other, out=target)
        return target

    def describe(self) -> str:
        return f"multiply({names(self.parts)})"


@combination
def multiply(parts: Sequence[LazyTensor]) -> LazyTensor:
    """Of two lists of one length, each a vector or a matrix of one row."""
    one, other = parts
    if n_rows(one) != 1 or n_rows(other) != 1 or one.shape[-1] != other.shape[-1]:
        raise refuse("multiply", one, f"it does not go with {shape_text(other.shape)}")
    return Multiplied((one, other))
