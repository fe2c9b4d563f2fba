"""Lazy tensors over numpy arrays, which count what is read of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.tensors import LazyTensor

TYPES = {
    np.dtype(np.float32): "F32",
    np.dtype(np.float16): "F16",
    np.dtype(np.uint16): "BF16",
    np.dtype(np.uint8): "U8",
    np.dtype(np.int8): "I8",
    np.dtype(np.int32): "I32",
    np.dtype(np.int64): "I64",
}


@dataclass(frozen=True)
class ArrayTensor:
    """Hands out rows of an array, into the caller's buffer every other time; uint16 holds bfloat16 bits."""

    name: str
    array: NDArray[Any] = field(compare=False)
    reads: list[tuple[int, int]] = field(default_factory=list, compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> str:
        return TYPES[self.array.dtype]

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def key(self) -> tuple[object, ...]:
        return ("ArrayTensor", self.name, self.shape, self.dtype)

    row_group = 1
    resident_bytes = 0

    def memory(self, rows: int) -> int:
        return 0

    def prepare(self) -> LazyTensor:
        return self

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> NDArray[Any]:
        count = math.prod(self.shape[:-1])
        assert 0 <= start <= stop <= count
        rows = self.array.reshape(count, -1)[start:stop]
        self.reads.append((start, stop))
        if out is None or len(self.reads) % 2:
            return rows
        target = out.reshape(-1)[: rows.nbytes].view(rows.dtype).reshape(rows.shape)
        target[...] = rows
        return target

    def describe(self) -> str:
        return self.name

    @property
    def rows_read(self) -> int:
        return sum(stop - start for start, stop in self.reads)
