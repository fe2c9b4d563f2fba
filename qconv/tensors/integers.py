"""Tables of integers, which GGUF keeps as 32-bit integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.errors import FormatError
from qconv.tensors.base import LazyTensor, Unary, buffer, refuse
from qconv.tensors.registry import operation
from qconv.types import Rows

_INTEGERS = ("I64", "I32", "I16", "I8", "U32", "U16", "U8")


@dataclass(frozen=True, slots=True)
class Int32(Unary):
    """Integers of any width in 32 bits; FormatError where one does not fit."""

    @property
    def dtype(self) -> str:
        return "I32"

    def memory(self, rows: int) -> int:
        return 2 * Unary.memory(self, rows)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        rows = self.inner.read(start, stop)
        target[...] = rows.astype(np.int32)
        if not np.array_equal(target, rows):
            raise FormatError("holds integers of more than 32 bits", tensor=self.sources[0])
        return target

    def describe(self) -> str:
        return f"int32({self.inner.describe()})"


@dataclass(frozen=True, slots=True)
class PlusPlace(Unary):
    """A list of integers, each with its place in the list added to it, in 64 bits."""

    @property
    def dtype(self) -> str:
        return "I64"

    def memory(self, rows: int) -> int:
        return 2 * Unary.memory(self, rows)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        target[...] = self.inner.read(start, stop)
        target += np.arange(self.shape[0])
        return target

    def describe(self) -> str:
        return f"plus_place({self.inner.describe()})"


@operation
def plus_place(tensor: LazyTensor) -> LazyTensor:
    """From how far each number in a list moves to where it moves to."""
    if tensor.dtype not in _INTEGERS or len(tensor.shape) != 1:
        raise refuse("plus_place", tensor, f"it is not a list of integers but {tensor.dtype}")
    return PlusPlace(tensor)


def as_int32(tensor: LazyTensor) -> LazyTensor:
    """``tensor`` as 32-bit integers; PlanError when it holds none."""
    if tensor.dtype not in _INTEGERS:
        raise refuse("int32", tensor, f"it is {tensor.dtype}")
    return Int32(tensor)
