"""Integers of 2 to 8 bits packed into 32-bit words, presented as the float32 tensors they stand for.

compressed-tensors' "pack-quantized": a row's weights one after the other, the first in a word's lowest bits, bits left
over unused; a scale for each group of columns; zero points, if any, packed the same way but down the rows.  A weight is
``(number - zero point) * scale`` in float32, as in llama.cpp's converter (``dequant_packed``, ``conversion/base.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.checkpoints.stored import Source
from qconv.checkpoints.widen import WIDENED, to_float32
from qconv.errors import FormatError
from qconv.types import Rows, TensorInfo

SUFFIXES = ("_packed", "_scale", "_shape", "_zero_point")


@dataclass(frozen=True, slots=True)
class Parts:
    """The tensors that make up one tensor of ``shape``: two dimensions, the columns a multiple of ``group``."""

    shape: tuple[int, int]
    words: TensorInfo
    scale: TensorInfo
    zero_point: TensorInfo | None
    bits: int
    group: int


def parts_of(source: Source, name: str, bits: int, group: int) -> Parts:
    """The parts of the tensor ``name``; its shape is read from the file.

    Raises ``FormatError`` when one is missing or they do not fit together.
    """
    tensors, per_word = source.tensors, 32 // bits
    for end in ("_scale", "_shape"):
        if name + end not in tensors:
            raise FormatError(f"is packed, but there is no '{name}{end}'", tensor=name)
    shape_info = tensors[name + "_shape"]
    if shape_info.weights != 2 or shape_info.dtype not in ("I64", "I32"):
        raise FormatError("does not hold two sizes", tensor=shape_info.name)
    rows, columns = map(int, source.read(shape_info.name, 0, shape_info.rows).reshape(-1))
    words, scale, zero_point = tensors[name + "_packed"], tensors[name + "_scale"], tensors.get(name + "_zero_point")
    expected = {
        words.name: (words, (rows, -(-columns // per_word)), ("I32",)),
        scale.name: (scale, (rows, columns // group), WIDENED),
    }
    if zero_point is not None:
        expected[zero_point.name] = (zero_point, (-(-rows // per_word), columns // group), ("I32",))
    if rows < 0 or columns < 0 or columns % group:
        raise FormatError(f"says {rows} x {columns}, no whole number of groups of {group}", tensor=shape_info.name)
    for info, shape, dtypes in expected.values():
        if info.shape != shape or info.dtype not in dtypes:
            message = f"is {info.dtype}{list(info.shape)}, but {rows} x {columns} weights need {list(shape)}"
            raise FormatError(message, tensor=info.name)
    return Parts((rows, columns), words, scale, zero_point, bits, group)


class Packed:
    """The tensors of ``stored``, with those in ``parts`` put together, by name, after all others."""

    def __init__(self, stored: Source, parts: Mapping[str, Parts]) -> None:
        self._stored = stored
        self._parts = parts
        taken = {name + end for name in parts for end in SUFFIXES}
        self._tensors = {name: info for name, info in stored.tensors.items() if name not in taken}
        # llama.cpp puts them after the others, too
        self._tensors |= {name: TensorInfo(name, "F32", part.shape) for name, part in parts.items()}

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self._tensors

    def read(self, name: str, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        """Rows ``[start, stop)``, see ``TensorReader.read``; raises as the reader of the stored tensors does."""
        part = self._parts.get(name)
        if part is None:
            return self._stored.read(name, start, stop, out)
        words = self._stored.read(part.words.name, start, stop).view(np.uint32)
        count, columns = stop - start, part.shape[1]
        buffer = np.empty(count * columns * 4, np.uint8) if out is None else out[: count * columns * 4]
        rows: NDArray[np.float32] = buffer.view(np.float32).reshape(count, columns)
        if not rows.size:
            return rows
        rows[:] = _unpack(words, part.bits)[:, :columns]
        groups = rows.reshape(count, columns // part.group, part.group)
        groups -= self._zero_points(part, start, stop)
        scales = self._stored.read(part.scale.name, start, stop)
        factors = np.empty(scales.shape, np.float32)
        to_float32(part.scale.dtype, scales, factors)
        with np.errstate(over="ignore", invalid="ignore"):  # encoding names infinities and NaN
            groups *= factors[:, :, None]
        return rows

    def _zero_points(self, part: Parts, start: int, stop: int) -> NDArray[np.float32] | np.float32:
        if part.zero_point is None:
            return np.float32(1 << (part.bits - 1))
        per_word = 32 // part.bits
        first, last = start // per_word, -(-stop // per_word)
        words = self._stored.read(part.zero_point.name, first, last).view(np.uint32)
        down = _unpack(np.ascontiguousarray(words.T), part.bits)
        used = slice(start - first * per_word, stop - first * per_word)
        return down[:, used].T.astype(np.float32)[:, :, None]

    def close(self) -> None:
        self._stored.close()


def _unpack(words: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    """The numbers in words of shape (n, m), ``32 // bits`` to each: (n, m * (32 // bits))."""
    shifts = np.arange(32 // bits, dtype=np.uint32) * np.uint32(bits)
    numbers = words[:, :, None] >> shifts
    numbers &= np.uint32((1 << bits) - 1)
    return numbers.reshape(len(words), words.shape[1] * len(shifts))
