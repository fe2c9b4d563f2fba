"""Bytes that are numbers of a type their file does not name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, Unary
from qconv.types import Rows


@dataclass(frozen=True, slots=True)
class Retyped(Unary):
    """``inner``, U8, as a type of one byte: E8M0 scales, which libraries store as integers."""

    as_type: str

    @property
    def dtype(self) -> str:
        return self.as_type

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        return self.inner.read(start, stop, out)

    def describe(self) -> str:
        return self.inner.describe()


def retyped(tensor: LazyTensor, as_type: str) -> LazyTensor:
    """``tensor`` as ``as_type`` where it is stored as U8; itself otherwise."""
    return Retyped(tensor, as_type) if tensor.dtype == "U8" else tensor
