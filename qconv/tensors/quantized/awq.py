"""AWQ's packings: 4-bit integers with a scale and a zero point for each group of inputs.

GEMM: ``qweight``, I32 ``(inputs, outputs / 8)``; ``qzeros``, I32 ``(groups, outputs / 8)``; ``scales``, ``(groups,
outputs)``.  A word's four bits number ``i``, from the lowest, belong to output 0, 2, 4, 6, 1, 3, 5, 7 of its eight.

GEMV: ``qweight``, I32 ``(outputs, inputs / 8)`` in natural order; ``qzeros``, I32 ``(outputs, words)`` and ``scales``,
``(outputs, 8 * words)``, with more groups than are used.

GEMV fast, the original's: ``qweight``, I16 ``(outputs / 4, inputs)``; ``scales`` and ``qzeros``, F16 ``(more groups
than are used, outputs)``, ``qzeros`` being added.  64 words hold four rows of 64 codes, one row after the other, lowest
bits first; of each row's 32 codes the one at place ``4 i + j`` is column ``8 j + i``'s.

Source: AutoAWQ, ``awq/modules/linear/gemm.py``, ``gemv.py`` and ``gemv_fast.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.errors import FormatError
from qconv.tensors.base import LazyTensor, Unary, buffer, columns, memory_of_rows
from qconv.tensors.gather_columns import first_columns
from qconv.tensors.quantized.affine import Affine, affine
from qconv.tensors.quantized.codes import Codes, unpack
from qconv.tensors.shapes import transpose
from qconv.types import Rows, shape_text

_PER_WORD = 8
_OUTPUTS = ((0, 2), (4, 6), (1, 3), (5, 7))
"""Which of its word's eight outputs the lower and the upper half of each byte belong to."""
_BITS = 4
_FOUR, _CHUNK = 4, 64
"""Rows, and columns of each, that lie together in GEMV fast."""


@dataclass(frozen=True, slots=True)
class Interleaved(Unary):
    """Each row of ``inner``, I32 ``(outputs / 8, inputs)``, as the eight rows of codes in its words: U8."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (_PER_WORD * self.inner.shape[0], self.inner.shape[1])

    @property
    def dtype(self) -> str:
        return "U8"

    @property
    def row_group(self) -> int:
        return _PER_WORD * self.inner.row_group

    def memory(self, rows: int) -> int:
        return memory_of_rows(self.inner, rows // _PER_WORD + 2) + 2 * columns(self) * (rows + 2 * _PER_WORD)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        if not target.size:
            return target
        first, last = start // _PER_WORD, -(-stop // _PER_WORD)
        raw = self.inner.read(first, last).view(np.uint8).reshape(last - first, columns(self), 4)
        whole = (start, stop) == (first * _PER_WORD, last * _PER_WORD)
        rows = target if whole else np.empty(((last - first) * _PER_WORD, columns(self)), np.uint8)
        eights = rows.reshape(last - first, _PER_WORD, columns(self))
        for byte, (low, high) in enumerate(_OUTPUTS):
            pairs = np.ascontiguousarray(raw[:, :, byte])
            np.bitwise_and(pairs, 15, out=eights[:, low])
            np.right_shift(pairs, 4, out=eights[:, high])
        if not whole:
            target[...] = rows[start - first * _PER_WORD : stop - first * _PER_WORD]
        return target

    def describe(self) -> str:
        return self.inner.describe()


@dataclass(frozen=True, slots=True)
class Fours(Unary):
    """Each row of ``inner``, I16 ``(outputs / 4, inputs)``, as the four rows of codes in it: U8."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (_FOUR * self.inner.shape[0], self.inner.shape[1])

    @property
    def dtype(self) -> str:
        return "U8"

    @property
    def row_group(self) -> int:
        return _FOUR * self.inner.row_group

    def memory(self, rows: int) -> int:
        return memory_of_rows(self.inner, rows // _FOUR + 2) + 4 * columns(self) * (rows + 2 * _FOUR)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        first, last = start // _FOUR, -(-stop // _FOUR)
        raw = np.ascontiguousarray(self.inner.read(first, last)).view(np.uint8)
        chunks = raw.reshape(last - first, columns(self) // _CHUNK, _FOUR, _CHUNK // 2).swapaxes(1, 2)
        rows = np.ascontiguousarray(chunks).reshape((last - first) * _FOUR, columns(self) // 2)
        codes = unpack(rows[start - first * _FOUR : stop - first * _FOUR], _BITS)
        target = buffer(self, stop - start, out)
        target.reshape(-1, 4, 8)[...] = codes.reshape(-1, 8, 4).swapaxes(1, 2)
        return target

    def describe(self) -> str:
        return self.inner.describe()


def awq_gemm(weight: LazyTensor, zeros: LazyTensor | None, scale: LazyTensor) -> Affine:
    """The weight, ``(outputs, inputs)``; without ``zeros`` codes are symmetric.

    Raises ``FormatError`` when the parts do not fit together.
    """
    _check_words(weight, zeros)
    inputs, wide = weight.shape
    if len(scale.shape) != 2 or scale.shape[1] != _PER_WORD * wide or not scale.shape[0] or inputs % scale.shape[0]:
        message = f"is {shape_text(scale.shape)}, which does not fit {inputs} inputs and {_PER_WORD * wide} outputs"
        raise FormatError(message, tensor=scale.sources[0])
    if zeros is not None and zeros.shape != (scale.shape[0], wide):
        message = f"is {shape_text(zeros.shape)}, but {shape_text(scale.shape)} scales need {scale.shape[0]} x {wide}"
        raise FormatError(message, tensor=zeros.sources[0])
    return affine(
        Interleaved(transpose(weight)),
        transpose(scale),
        zero=1 << (_BITS - 1) if zeros is None else Interleaved(transpose(zeros)),
    )


def awq_gemv(weight: LazyTensor, zeros: LazyTensor, scale: LazyTensor, group: int) -> Affine:
    """The weight, ``(outputs, inputs)``, in groups of ``group`` inputs.

    Raises ``FormatError`` when the parts do not fit together.
    """
    _check_words(weight, zeros)
    outputs, inputs = weight.shape[0], _PER_WORD * weight.shape[1]
    count = -(-inputs // group)
    wide = zeros.shape[1]
    if zeros.shape[0] != outputs or scale.shape != (outputs, _PER_WORD * wide) or _PER_WORD * wide < count:
        message = f"is {shape_text(scale.shape)}, which does not fit {outputs} outputs in {count} groups"
        raise FormatError(message, tensor=scale.sources[0])
    return affine(
        Codes(weight, _BITS, inputs), first_columns(scale, count), zero=Codes(zeros, _BITS, count), group=group
    )


def awq_gemv_fast(weight: LazyTensor, offsets: LazyTensor, scale: LazyTensor, group: int) -> Affine:
    """The weight, ``(outputs, inputs)``, in groups of ``group`` inputs.

    Raises ``FormatError`` when the parts do not fit together.
    """
    fours, inputs = weight.shape if weight.dtype == "I16" and len(weight.shape) == 2 else (0, 0)
    count = -(-inputs // group)
    if not inputs or inputs % _CHUNK:
        message = f"is {weight.dtype} {shape_text(weight.shape)}, not a matrix of I16 in chunks of {_CHUNK} columns"
        raise FormatError(message, tensor=weight.sources[0])
    if (
        len(scale.shape) != 2
        or scale.shape[1] != _FOUR * fours
        or scale.shape[0] < count
        or offsets.shape != scale.shape
    ):
        message = f"is {shape_text(scale.shape)}, which does not fit {_FOUR * fours} outputs in {count} groups"
        raise FormatError(message, tensor=scale.sources[0])
    parts = (first_columns(transpose(part), count) for part in (scale, offsets))
    return affine(Fours(weight), next(parts), offset=next(parts), group=group)


def _check_words(*parts: LazyTensor | None) -> None:
    for part in parts:
        if part is not None and (part.dtype != "I32" or len(part.shape) != 2):
            raise FormatError(f"is {part.dtype} {shape_text(part.shape)}, not a matrix of I32", tensor=part.sources[0])
