"""Rows of zeros below a matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.architectures.operations.base import Derived, buffer, read_into
from qconv.architectures.registry import operation
from qconv.types import Recipe, Rows, TensorReader


@dataclass(frozen=True, slots=True)
class Padded(Derived):
    """``inner`` with zeros below it up to ``n_rows``."""

    n_rows: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.n_rows, *self.inner.shape[1:])

    def read(self, reader: TensorReader, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        end = min(max(self.inner.shape[0], start), stop)
        if end > start:
            read_into(self.inner, reader, start, end, target[: end - start])
        target[end - start :] = 0
        return target

    def describe(self) -> str:
        return f"pad_rows {self.n_rows}({self.inner.describe()})"


@operation
def pad_rows(recipe: Recipe, n_rows: int) -> Recipe:
    """With rows of zeros up to ``n_rows``, as for tokens that get their embedding from another model."""
    return Padded(recipe, n_rows) if n_rows > recipe.shape[0] else recipe
