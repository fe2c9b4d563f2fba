"""Four-bit floats (E2M1), two in a byte, as float32; their scales are multiplied by ``scaled``.

The lower half of a byte is the even column.  Source: OCP microscaling formats 1.0, table 5.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.errors import FormatError
from qconv.tensors.base import LazyTensor, Unary, buffer
from qconv.types import Rows, shape_text

_MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Fp4(Unary):
    """``inner``: bytes, ``(..., columns / 2)``, of any integer type."""

    @property
    def shape(self) -> tuple[int, ...]:
        width = np.dtype(_BYTES[self.inner.dtype]).itemsize
        return (*self.inner.shape[:-1], 2 * width * self.inner.shape[-1])

    @property
    def dtype(self) -> str:
        return "F32"

    def memory(self, rows: int) -> int:
        return Unary.memory(self, rows) + 8 * _PIECE

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        rows = buffer(self, stop - start, out)
        pairs, target = self.inner.read(start, stop).reshape(-1).view(np.uint8), rows.reshape(-1).view(np.uint64)
        for at in range(0, pairs.size, _PIECE):
            piece = slice(at, at + _PIECE)
            np.take(_pairs(), pairs[piece], out=target[piece], mode="clip")
        return rows

    def describe(self) -> str:
        return self.inner.describe()


_BYTES = {"U8": "u1", "I8": "i1", "U32": "u4", "I32": "i4"}


def fp4(packed: LazyTensor) -> Fp4:
    """Raises ``FormatError`` for a type that holds no bytes."""
    if packed.dtype not in _BYTES or not packed.shape:
        message = f"is {packed.dtype} {shape_text(packed.shape)}, which holds no 4-bit floats"
        raise FormatError(message, tensor=packed.sources[0])
    return Fp4(packed)


@functools.cache
def _pairs() -> NDArray[np.uint64]:
    """For each byte its two values as the eight bytes of two float32."""
    values = np.array([*_MAGNITUDES, *(-x for x in _MAGNITUDES)], np.float32)
    code = np.arange(256)
    return np.stack([values[code & 15], values[code >> 4]], axis=1).copy().view(np.uint64).reshape(256)
