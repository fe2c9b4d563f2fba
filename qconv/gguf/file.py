"""What a GGUF file's header says, as frozen types."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Literal, overload

import numpy as np

from qconv.formats import block_types
from qconv.gguf import limits
from qconv.types import Metadata, TensorInfo, ValueType

ByteOrder = Literal["little", "big"]

SCALARS: dict[ValueType, str] = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "B",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}
"""Value types of fixed size, by the letter that ``struct`` and numpy both know them by."""


def dtype_of(element: ValueType, byte_order: ByteOrder) -> np.dtype[np.generic]:
    """The numpy type of a fixed-size value in a file of that byte order."""
    return np.dtype(("<" if byte_order == "little" else ">") + SCALARS[element])


class Strings(Sequence[bytes]):
    """An array of strings as the file holds it: each a 64-bit length and that many bytes, taken apart when asked for.

    Items are ``bytes`` (UTF-8 by convention, not checked); ``text`` decodes them.  Equal when the items are.
    """

    __slots__ = ("_count", "_length", "_offsets", "byte_order", "raw")

    def __init__(self, raw: bytes, count: int, byte_order: ByteOrder = "little") -> None:
        self.raw = raw
        self._count = count
        self.byte_order: ByteOrder = byte_order
        self._length = Struct("<Q" if byte_order == "little" else ">Q")
        self._offsets: list[int] | None = None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        raw, unpack, at = self.raw, self._length.unpack_from, 0
        for _ in range(self._count):
            start = at + 8
            at = start + unpack(raw, at)[0]
            yield raw[start:at]

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if self._offsets is None:
            unpack, at, offsets = self._length.unpack_from, 0, [0]
            for _ in range(self._count):
                at += 8 + unpack(self.raw, at)[0]
                offsets.append(at)
            self._offsets = offsets
        offsets = self._offsets
        if isinstance(index, slice):
            return [self.raw[offsets[i] + 8 : offsets[i + 1]] for i in range(*index.indices(self._count))]
        i = range(self._count)[index]
        return self.raw[offsets[i] + 8 : offsets[i + 1]]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Strings) and other.byte_order == self.byte_order:
            return len(other) == self._count and other.raw == self.raw
        if isinstance(other, (Strings, list, tuple)):
            return len(other) == self._count and all(
                a == (b.encode("utf-8", "surrogateescape") if isinstance(b, str) else b)
                for a, b in zip(self, other, strict=True)
            )
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # equal to lists, which have none

    def __repr__(self) -> str:
        return f"<{self._count} strings, {len(self.raw)} bytes>"

    def text(self) -> list[str]:
        """All items decoded; bytes that are not UTF-8 become U+FFFD."""
        return [item.decode("utf-8", "replace") for item in self]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's record and place: ``offset`` counts from the start of the file, ``size`` without padding; in bytes."""

    info: TensorInfo
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class File:
    """The header of one GGUF file.

    ``location``: what messages call it, its path when it lies on this machine.  ``metadata``: keys in the file's
    order; arrays of numbers are numpy arrays in this machine's byte order, arrays of
    booleans numpy booleans, arrays of strings ``Strings``.  ``tensors``: by name, in the file's order.
    ``data_offset`` and ``size`` (of the whole file) in bytes.
    """

    location: str
    version: int
    byte_order: ByteOrder
    alignment: int
    metadata: Metadata
    tensors: dict[str, Tensor]
    data_offset: int
    size: int

    @property
    def path(self) -> Path:
        """The path of a file that lies on this machine."""
        return Path(self.location)


def tensor_bytes(info: TensorInfo) -> int:
    """Bytes a tensor takes in a GGUF file, without padding.

    Raises ``UsageError`` when its rows are not a whole number of blocks, ``KeyError`` when its type is not GGUF's.
    """
    return math.prod(info.shape[:-1]) * block_types()[info.dtype].row_bytes(info.columns)


def is_shape(shape: Iterable[int]) -> bool:
    """Whether a tensor may have that shape, by the bounds of ``limits``."""
    sizes = tuple(shape)
    product = math.prod(size or 1 for size in sizes)
    return product <= (limits.EMPTY_ELEMENTS if 0 in sizes else limits.ELEMENTS)


def padded(size: int, alignment: int) -> int:
    """``size`` rounded up to a multiple of ``alignment``."""
    return -(-size // alignment) * alignment
