"""Adapters stacked inside a model, ``(adapters, 1, rows, columns)``, as slots ``(adapters + 1, rows, columns)``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, Unary, buffer, read_into, refuse
from qconv.tensors.combine import join
from qconv.tensors.heads import permute_rope_in_heads
from qconv.tensors.registry import operation
from qconv.tensors.rows import first_rows, skip_rows
from qconv.tensors.shapes import reshape
from qconv.types import Rows


@dataclass(frozen=True, slots=True)
class AfterEmptySlot(Unary):
    """Matrices in a stack after one of zeros."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.inner.shape[0] + 1, *self.inner.shape[1:])

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        empty = self.shape[1]
        zeros = max(0, min(stop, empty) - start)
        target[:zeros] = 0
        if zeros < stop - start:
            read_into(self.inner, start + zeros - empty, stop - empty, target[zeros:])
        return target

    def describe(self) -> str:
        return f"after_empty_slot({self.inner.describe()})"


@operation
def after_empty_slot(tensor: LazyTensor) -> LazyTensor:
    """Slots of adapters behind one that changes nothing."""
    if len(tensor.shape) != 4 or tensor.shape[1] != 1:
        raise refuse("after_empty_slot", tensor, "it is no stack of adapters")
    adapters, _, rows, width = tensor.shape
    return AfterEmptySlot(reshape(tensor, (adapters, rows, width)))


@operation
def permute_rope_in_slots(tensor: LazyTensor, size: int) -> LazyTensor:
    """``permute_rope`` for heads of ``size`` rows in each adapter's matrix."""
    if tensor.shape[-2] % size:
        raise refuse("permute_rope_in_slots", tensor, f"its rows are not heads of {size}")
    flat = reshape(tensor, (tensor.shape[0] * tensor.shape[-2], tensor.shape[-1]))
    return reshape(permute_rope_in_heads(flat, size), tensor.shape)


@operation
def permute_rope_above(tensor: LazyTensor, size: int, rest: int) -> LazyTensor:
    """``permute_rope`` for heads of ``size`` rows, but not in the last ``rest`` rows: queries and keys above values."""
    rotating = tensor.shape[0] - rest
    if rotating <= 0:
        raise refuse("permute_rope_above", tensor, f"it has no rows above {rest}")
    permuted = permute_rope_in_heads(first_rows(tensor, rotating), size)
    return join("permute_rope_above", [permuted, skip_rows(tensor, rotating)], axis=0)
