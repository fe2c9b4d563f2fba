"""bitsandbytes' 4-bit weights: entries of a table of 16 times a scale for each run of the flattened tensor.

Weight ``i``, counted over all rows, is in byte ``i // 2``, the even one in its upper half.  It is ``table[code]`` times
the scale of block ``i // size``; blocks do not care where rows end.  Doubly quantized scales are 8 bits themselves:
``table[code] * scale of scales + offset``.  All in float32; the library rounds the result to the type it computes in.

Source: bitsandbytes, ``functional.py`` (``QuantState``, ``dequantize_4bit``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, Unary, buffer, columns, memory_of_rows
from qconv.tensors.dtypes import PLAIN
from qconv.tensors.floats import as_float32
from qconv.tensors.shapes import reshape
from qconv.types import Rows

_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Scales(Unary):
    """A number for each block, float32 ``(blocks, 1)``: ``inner`` as it is, F32 ``(blocks, 1)``.

    With a ``table``, F32 ``(256,)``, ``inner`` holds U8 codes, and ``scale``, ``(blocks / size, 1)``, the scales of
    runs of ``size`` of them.
    """

    table: LazyTensor | None = None
    scale: LazyTensor | None = None
    size: int = 1
    offset: float = 0.0

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def sources(self) -> tuple[str, ...]:
        parts = (self.inner, self.scale, self.table)
        return tuple(name for part in parts if part is not None for name in part.sources)

    def memory(self, rows: int) -> int:
        return memory_of_rows(self.inner, rows) + 24 * rows + (1 << 13)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        codes = self.inner.read(start, stop)
        if self.table is None or self.scale is None:
            target[...] = as_float32(codes, self.inner.dtype)
            return target
        first, last = start // self.size, -(-stop // self.size)
        runs = as_float32(self.scale.read(first, last), self.scale.dtype)
        of_block = runs[np.arange(start, stop) // self.size - first]
        with np.errstate(over="ignore", invalid="ignore"):  # encoding names infinities and NaN
            np.multiply(self.table.read(0, 1)[0][codes], of_block, out=target)
            target += np.float32(self.offset)
        return target

    def describe(self) -> str:
        return self.inner.describe()


@dataclass(frozen=True, slots=True)
class Blockwise(Unary):
    """``inner``: the codes, ``(n, 1)`` of any type that bytes are stored as; ``table``: F32 ``(16,)``.

    ``scale``: ``(blocks, 1)``, each for ``size`` weights.
    """

    table: LazyTensor
    scale: Scales
    size: int
    new_shape: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.new_shape

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def sources(self) -> tuple[str, ...]:
        return (*self.inner.sources, *self.scale.sources, *self.table.sources)

    def memory(self, rows: int) -> int:
        weights = rows * columns(self) + 2 * self.size
        codes = memory_of_rows(self.inner, weights // 2 + 16)
        return codes + 4 * weights + memory_of_rows(self.scale, weights // self.size + 2) + 8 * _PIECE

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        if not target.size:
            return target
        width, total = columns(self), math.prod(self.new_shape)
        first, last = start * width, stop * width
        low, high = first // self.size, -(-last // self.size)
        end = min(total, high * self.size)
        aligned = first == low * self.size and last == end
        weights = target.reshape(-1) if aligned else np.empty(end - low * self.size, np.float32)
        self._look_up(low * self.size, weights)
        scales = self.scale.read(low, high)
        whole = weights.size // self.size
        with np.errstate(over="ignore", invalid="ignore"):  # encoding names infinities and NaN
            runs = weights[: whole * self.size].reshape(whole, self.size)
            runs *= scales[:whole]
            weights[whole * self.size :] *= scales[-1]
        if not aligned:
            target.reshape(-1)[...] = weights[first - low * self.size :][: last - first]
        return target

    def _look_up(self, start: int, weights: NDArray[np.float32]) -> None:
        """The table's entries for the weights from number ``start``, an even one, on."""
        per_item = 2 * np.dtype(PLAIN[self.inner.dtype]).itemsize
        item = start // per_item
        items = self.inner.read(item, -(-(start + weights.size) // per_item))
        codes = items.reshape(-1).view(np.uint8)[(start - item * per_item) // 2 :]
        table = self.table.read(0, 1)[0]
        pairs = np.stack([table[np.arange(256) >> 4], table[np.arange(256) & 15]], axis=1).copy().view(np.uint64)[:, 0]
        even = weights.size // 2
        target = weights[: 2 * even].view(np.uint64)
        for at in range(0, even, _PIECE):
            piece = slice(at, min(even, at + _PIECE))
            np.take(pairs, codes[piece], out=target[piece], mode="clip")
        if weights.size % 2:
            weights[-1] = table[codes[even] >> 4]

    def describe(self) -> str:
        return self.inner.describe()


def blockwise(codes: LazyTensor, table: LazyTensor, scale: Scales, size: int, shape: tuple[int, ...]) -> LazyTensor:
    """Codes in any shape and type of plain bytes; their number and the scales' must be what ``shape`` needs."""
    items = math.prod(codes.shape)
    return Blockwise(reshape(codes, (items, 1)), table, scale, size, shape)
