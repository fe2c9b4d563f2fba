"""Small unsigned numbers packed into words, unpacked to one byte each.

Three packings are in use.  *Dense*: a stream of bits, number ``i`` at bit ``i * bits``, running on from word to word.
*Padded*: a 32-bit word holds the ``32 // bits`` numbers that fit it whole, and its upper bits are left over.  *Planar*:
of 32 numbers the lowest bits come first, 4 of each, or 2 of 3; then 2 bits of each where as many are left, then 1; each
such plane is dense.  They are the same for 1, 2, 4 and 8 bits.  All count from the lowest bit of the first word.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import Unary, buffer, columns, memory_of_rows, read_columns
from qconv.tensors.dtypes import row_bytes
from qconv.types import Rows

Packing: TypeAlias = Literal["dense", "padded", "planar"]

_ALIGNED = 32
"""Numbers of any width after which a stream of bits is at the start of a 32-bit word again."""
_PLANES = {3: (2, 1), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1)}
"""Bits of each plane, by those of a number; others have one plane."""


def words(count: int, bits: int, packing: Packing = "dense") -> int:
    """32-bit words that ``count`` numbers of ``bits`` bits take."""
    return -(-count // (32 // bits)) if packing == "padded" else -(-count * bits // 32)


def _bytes_around(first: int, last: int, bits: int, packing: Packing) -> tuple[int, int, int]:
    """From which to which byte numbers ``[first, last)`` are, and the number that the first such byte begins with."""
    unit = 32 // bits if packing == "padded" else _ALIGNED
    aligned = first // unit * unit
    end = -(-last // unit) * unit if packing == "planar" else last
    return 4 * words(aligned, bits, packing), 4 * words(end, bits, packing), aligned


@dataclass(frozen=True, slots=True)
class Codes(Unary):
    """``count`` numbers of ``bits`` bits out of each row of words (or bytes) of ``inner``, as U8.

    ``plus`` is added to each, modulo ``2 ** bits``.
    """

    bits: int
    count: int
    packing: Packing = "dense"
    plus: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.inner.shape[:-1], self.count)

    @property
    def dtype(self) -> str:
        return "U8"

    def memory(self, rows: int) -> int:
        return memory_of_rows(self.inner, rows) + 4 * rows * (self.count + 2 * _ALIGNED)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        numbers = self._unpacked(self.inner.read(start, stop))[:, : self.count]
        if out is None:
            return numbers
        target = buffer(self, stop - start, out)
        target[...] = numbers
        return target

    def read_columns(self, start: int, stop: int, first: int, last: int) -> Rows:
        size = row_bytes(self.inner.dtype, 1)
        a, b, aligned = _bytes_around(first, last, self.bits, self.packing)
        rows = read_columns(self.inner, start, stop, a // size, min(columns(self.inner), b // size))
        numbers = self._unpacked(rows)
        return numbers[:, first - aligned : last - aligned]

    def _unpacked(self, rows: Rows) -> NDArray[np.uint8]:
        raw = np.ascontiguousarray(rows)
        raw = raw.view(np.uint8).reshape(len(raw), raw.shape[1] * raw.itemsize)
        return unpack(raw, self.bits, self.packing, self.plus)

    def describe(self) -> str:
        return self.inner.describe()


@dataclass(frozen=True, slots=True)
class VerticalCodes(Unary):
    """Numbers packed down the columns of ``inner``, ``(..., words, columns)``: ``(..., count, columns)``, as U8.

    Words may be bytes.  ``plus`` as of ``Codes``.
    """

    bits: int
    count: int
    packing: Packing = "dense"
    plus: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.inner.shape[:-2], self.count, self.inner.shape[-1])

    @property
    def dtype(self) -> str:
        return "U8"

    def memory(self, rows: int) -> int:
        return memory_of_rows(self.inner, rows // 2 + 8) + 6 * columns(self) * (rows + 2 * _ALIGNED)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        n_words, size = self.inner.shape[-2], row_bytes(self.inner.dtype, 1)
        row = start
        while row < stop:
            matrix, first = divmod(row, self.count)
            last = min(self.count, first + stop - row)
            a, b, aligned = _bytes_around(first, last, self.bits, self.packing)
            rows = self.inner.read(matrix * n_words + a // size, matrix * n_words + min(n_words, b // size))
            part = target[row - start : row - start + last - first]
            if size * 8 % self.bits == 0:
                self._whole(rows, first - aligned, part)
            else:
                turned = np.ascontiguousarray(rows.T).view(np.uint8)
                numbers = unpack(turned, self.bits, self.packing, self.plus)[:, first - aligned : last - aligned]
                part[...] = numbers.T
            row += last - first
        return target

    def _whole(self, rows: Rows, skipped: int, target: NDArray[np.uint8]) -> None:
        """Numbers that do not cross words: each word row's first ones, its second ones, ..."""
        per_word = 8 * rows.itemsize // self.bits
        unsigned = rows.view(np.dtype(f"u{rows.itemsize}"))
        for i in range(per_word):
            numbers = (unsigned >> unsigned.dtype.type(i * self.bits)).astype(np.uint8)
            if self.plus:
                numbers += np.uint8(self.plus)
            at = i - skipped % per_word
            skip = skipped // per_word + (at < 0)
            of_target = target[at % per_word :: per_word]
            np.bitwise_and(numbers[skip : skip + len(of_target)], (1 << self.bits) - 1, out=of_target)

    def describe(self) -> str:
        return self.inner.describe()


def unpack(raw: NDArray[np.uint8], bits: int, packing: Packing = "dense", plus: int = 0) -> NDArray[np.uint8]:
    """All numbers in rows of bytes, ``(n, bytes)``, and what the padding at a row's end makes: ``(n, numbers)``."""
    if packing == "padded" and 32 % bits:
        numbers = _padded(raw.view("<u4"), bits)
    elif packing == "planar" and bits in _PLANES:
        numbers = _planar(raw, bits)
    elif bits == 8:
        numbers = raw
    else:
        numbers = _stream(raw, bits)
    if plus:
        numbers = (numbers + np.uint8(plus)) & np.uint8((1 << bits) - 1)
    return numbers


def _stream(raw: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Spreads the numbers of one integer over the bytes of another that has a byte for each."""
    together = 8 // math.gcd(8, bits)  # numbers that fill whole bytes
    step = together * bits // 8
    kind = np.dtype(f"<u{together}")
    if step == 1:
        packed = raw.astype(kind)
    else:
        units = -(-raw.shape[1] // step)
        padded = np.zeros((len(raw), units, together), np.uint8)
        whole = raw.shape[1] // step
        padded[:, :whole, :step] = raw[:, : whole * step].reshape(len(raw), whole, step)
        if whole < units:
            rest = raw[:, whole * step :]
            padded[:, whole, : rest.shape[1]] = rest
        packed = padded.reshape(len(raw), -1).view(kind)
    mask = (1 << bits) - 1
    spread = packed & kind.type(mask)
    for i in range(1, together):
        spread |= (packed << kind.type((8 - bits) * i)) & kind.type(mask << 8 * i)
    numbers: NDArray[np.uint8] = spread.view(np.uint8)
    return numbers


def _planar(raw: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    blocks = raw.reshape(len(raw), -1, 4 * bits)
    numbers = np.zeros((*blocks.shape[:2], _ALIGNED), np.uint8)
    shift = 0
    for width in _PLANES[bits]:
        plane = np.ascontiguousarray(blocks[:, :, 4 * shift : 4 * (shift + width)])
        numbers |= _stream(plane.reshape(-1, 4 * width), width).reshape(numbers.shape) << np.uint8(shift)
        shift += width
    return numbers.reshape(len(raw), -1)


def _padded(raw: NDArray[np.uint32], bits: int) -> NDArray[np.uint8]:
    per_word = 32 // bits
    numbers = np.empty((*raw.shape, per_word), np.uint8)
    for i in range(per_word):
        numbers[:, :, i] = (raw >> np.uint32(i * bits)) & np.uint32((1 << bits) - 1)
    return numbers.reshape(len(raw), raw.shape[1] * per_word)
