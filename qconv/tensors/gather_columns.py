"""Operations that pick and reorder the values within each row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, Unary, buffer, refuse
from qconv.tensors.registry import operation
from qconv.tensors.rows import View, whole
from qconv.types import Rows


@dataclass(frozen=True, slots=True)
class PickColumns(Unary):
    """Columns of ``inner`` in a view's order."""

    label: str
    view: View

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.inner.shape[:-1], int(np.prod(self.view.counts)))

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        rows = self.inner.read(start, stop)
        cells = rows.reshape(stop - start, *self.view.grid)[(slice(None), *(slice(*pick) for pick in self.view.picks))]
        turned = cells.transpose(0, *(axis + 1 for axis in self.view.order))
        target.reshape(stop - start, *self.view.counts)[...] = turned
        return target

    def describe(self) -> str:
        return f"{self.label}{list(self.view.grid)}({self.inner.describe()})"


@operation
def every_other_column(tensor: LazyTensor, index: int) -> LazyTensor:
    """Even (0) or odd (1) columns."""
    left = whole("every_other_column", tensor, tensor.shape[-1], 2)
    view = View((left, 2), ((0, left, 1), (index, index + 1, 1)), (0, 1))
    return PickColumns(tensor, f"every other column from {index} of", view)


@operation
def swap_column_groups(tensor: LazyTensor, outer: int, inner: int) -> LazyTensor:
    """Columns grouped as ``(outer, inner, rest)`` become ``(inner, outer, rest)``."""
    rest = whole("swap_column_groups", tensor, tensor.shape[-1], outer * inner)
    view = View((outer, inner, rest), ((0, outer, 1), (0, inner, 1), (0, rest, 1)), (1, 0, 2))
    return PickColumns(tensor, "swap_column_groups", view)


@operation
def first_columns(tensor: LazyTensor, count: int) -> LazyTensor:
    """The first ``count`` columns, as where groups are padded."""
    width = tensor.shape[-1]
    if not 0 < count <= width:
        raise refuse("first_columns", tensor, f"it has no {count} columns")
    return PickColumns(tensor, "first columns of", View((width,), ((0, count, 1),), (0,)))
