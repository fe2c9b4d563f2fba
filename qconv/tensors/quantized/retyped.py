"""Bytes that are numbers of a type their file does not name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, Unary
from qconv.tensors.dtypes import PLAIN, array_type
from qconv.types import Rows


@dataclass(frozen=True, slots=True)
class Retyped(Unary):
    """The bytes of ``inner``'s rows as numbers of another type: E8M0 scales that a library stores as U8."""

    as_type: str

    @property
    def shape(self) -> tuple[int, ...]:
        stored, wanted = (int(PLAIN[dtype][1]) for dtype in (self.inner.dtype, self.as_type))
        return (*self.inner.shape[:-1], self.inner.shape[-1] * stored // wanted)

    @property
    def dtype(self) -> str:
        return self.as_type

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        rows: Rows = self.inner.read(start, stop, out).view(array_type(self.as_type))
        return rows

    def describe(self) -> str:
        return self.inner.describe()


def retyped(tensor: LazyTensor, as_type: str, *stored: str) -> LazyTensor:
    """``tensor`` as ``as_type`` where it is stored as one of the types ``stored``; itself otherwise."""
    return Retyped(tensor, as_type) if tensor.dtype in stored and tensor.shape else tensor
