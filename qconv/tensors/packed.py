"""Integers of 2 to 8 bits packed into 32-bit words, as the float32 tensors they stand for.

compressed-tensors' "pack-quantized": a row's weights one after the other, the first in a word's lowest bits, bits left
over unused; a scale for each group of columns; zero points, if any, packed the same way but down the rows.  A weight is
``(number - zero point) * scale`` in float32, as in llama.cpp's converter (``dequant_packed``, ``conversion/base.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.errors import FormatError
from qconv.tensors.base import LazyTensor, Unary, buffer, memory_of_rows, read_whole
from qconv.tensors.dtypes import FLOATS, FLOATS8
from qconv.tensors.floats import as_float32
from qconv.types import Rows, shape_text

SUFFIXES = ("_packed", "_scale", "_shape", "_zero_point")
_SCALES = (*FLOATS, *FLOATS8)


@dataclass(frozen=True, slots=True)
class Packed(Unary):
    """``inner``: words, I32 ``(rows, words)``; ``scale``: ``(rows, columns / group)``.

    ``zero_point``: I32 words ``(rows / numbers in a word, columns / group)``; without it numbers are symmetric.
    """

    scale: LazyTensor
    zero_point: LazyTensor | None
    bits: int
    group: int
    new_shape: tuple[int, int]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.new_shape

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def sources(self) -> tuple[str, ...]:
        zero_point = () if self.zero_point is None else self.zero_point.sources
        return (*self.inner.sources, *self.scale.sources, *zero_point)

    def memory(self, rows: int) -> int:
        unpacked = 8 * rows * self.new_shape[1]  # numbers, before they are float32
        groups = 4 * memory_of_rows(self.scale, rows)
        return Unary.memory(self, rows) + unpacked + groups

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        rows = buffer(self, stop - start, out)
        if not rows.size:
            return rows
        count, columns = rows.shape
        words = self.inner.read(start, stop).view(np.uint32)
        rows[:] = _unpack(words, self.bits)[:, :columns]
        groups = rows.reshape(count, columns // self.group, self.group)
        groups -= self._zero_points(start, stop)
        factors = as_float32(self.scale.read(start, stop), self.scale.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # encoding names infinities and NaN
            groups *= factors[:, :, None]
        return rows

    def _zero_points(self, start: int, stop: int) -> NDArray[np.float32] | np.float32:
        if self.zero_point is None:
            return np.float32(1 << (self.bits - 1))
        per_word = 32 // self.bits
        first, last = start // per_word, -(-stop // per_word)
        words = self.zero_point.read(first, last).view(np.uint32)
        down = _unpack(np.ascontiguousarray(words.T), self.bits)
        used = slice(start - first * per_word, stop - first * per_word)
        return down[:, used].T.astype(np.float32)[:, :, None]

    def describe(self) -> str:
        return self.inner.sources[0].removesuffix("_packed")


def packed(tensors: Mapping[str, LazyTensor], name: str, bits: int, group: int) -> Packed:
    """The tensor ``name``, made of its parts in ``tensors``; its shape is read from the file.

    Raises ``FormatError`` when one is missing or they do not fit together.
    """
    per_word = 32 // bits
    for end in ("_scale", "_shape"):
        if name + end not in tensors:
            raise FormatError(f"is packed, but there is no '{name}{end}'", tensor=name)
    sizes = tensors[name + "_shape"]
    if sizes.shape != (2,) or sizes.dtype not in ("I64", "I32"):
        raise FormatError("does not hold two sizes", tensor=name + "_shape")
    rows, columns = map(int, read_whole(sizes).reshape(-1))
    words, scale, zero_point = tensors[name + "_packed"], tensors[name + "_scale"], tensors.get(name + "_zero_point")
    expected = {
        "_packed": (words, (rows, -(-columns // per_word)), ("I32",)),
        "_scale": (scale, (rows, columns // group), _SCALES),
    }
    if zero_point is not None:
        expected["_zero_point"] = (zero_point, (-(-rows // per_word), columns // group), ("I32",))
    if rows < 0 or columns < 0 or columns % group:
        message = f"says {shape_text((rows, columns))}, no whole number of groups of {group}"
        raise FormatError(message, tensor=name + "_shape")
    for end, (tensor, shape, dtypes) in expected.items():
        if tensor.shape != shape or tensor.dtype not in dtypes:
            wanted = f"{shape_text((rows, columns))} weights need {list(shape)}"
            raise FormatError(f"is {tensor.dtype}{list(tensor.shape)}, but {wanted}", tensor=name + end)
    return Packed(words, scale, zero_point, bits, group, (rows, columns))


def _unpack(words: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    """The numbers in words of shape (n, m), ``32 // bits`` to each: (n, m * (32 // bits))."""
    shifts = np.arange(32 // bits, dtype=np.uint32) * np.uint32(bits)
    numbers = words[:, :, None] >> shifts
    numbers &= np.uint32((1 << bits) - 1)
    return numbers.reshape(len(words), words.shape[1] * len(shifts))
