"""Rows of zeros below matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, RowRange, Unary, buffer, read_into
from qconv.tensors.combine import stack
from qconv.tensors.registry import combination, operation
from qconv.types import Rows


@dataclass(frozen=True, slots=True)
class Padded(Unary):
    """``inner`` with zeros below it up to ``n_rows``."""

    n_rows: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.n_rows, *self.inner.shape[1:])

    def memory(self, rows: int) -> int:
        return self.inner.memory(rows)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        end = min(max(self.inner.shape[0], start), stop)
        if end > start:
            read_into(self.inner, start, end, target[: end - start])
        target[end - start :] = 0
        return target

    def reads(self, start: int, stop: int) -> Iterator[RowRange]:
        rows = self.inner.shape[0]
        yield RowRange(self.inner, min(start, rows), min(stop, rows))

    def describe(self) -> str:
        return f"pad_rows {self.n_rows}({self.inner.describe()})"


@operation
def pad_rows(tensor: LazyTensor, n_rows: int) -> LazyTensor:
    """With rows of zeros up to ``n_rows``, as for tokens that get their embedding from another model."""
    return Padded(tensor, n_rows) if n_rows > tensor.shape[0] else tensor


@combination
def stack_padded(parts: Sequence[LazyTensor]) -> LazyTensor:
    """Matrices above one another, all with rows of zeros up to the longest one's."""
    longest = max(part.shape[0] for part in parts)
    return stack([pad_rows(part, longest) for part in parts])
