"""Tensors as files hold them, by positioned reads into the caller's buffers; and tensors the config alone makes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qconv.errors import FormatError, InputError, UsageError
from qconv.storage import ByteRange, StoredFile
from qconv.tensors import dtypes
from qconv.tensors.base import columns
from qconv.tensors.dtypes import array_type, row_bytes
from qconv.types import Rows, TensorInfo

_FEW = 16
"""Columns are read by themselves where they are less than one in so many: a call costs as much as some kilobytes."""
_CHUNK = 4 << 20
"""Bytes of whole rows that are read at a time for some of their columns."""


@dataclass(frozen=True, slots=True)
class TensorLocation:
    """Where a tensor lies: at which byte of which file; ``big_endian`` if its numbers are stored that way round."""

    info: TensorInfo
    offset: int
    big_endian: bool = False


@dataclass(frozen=True, slots=True)
class _Leaf:
    """Base of tensors that are made from no other."""

    @property
    def row_group(self) -> int:
        return 1

    @property
    def resident_bytes(self) -> int:
        return 0

    def memory(self, rows: int) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class StoredTensor(_Leaf):
    """A tensor of a file."""

    location: TensorLocation
    file: StoredFile = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.location.info.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.location.info.shape

    @property
    def dtype(self) -> str:
        return self.location.info.dtype

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return dtypes.size(self.location.info)

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def key(self) -> Hashable:
        return ("StoredTensor", self.file.name, self.name, self.dtype, self.shape)

    def range(self, start: int, stop: int) -> ByteRange:
        """Where rows ``[start, stop)`` lie."""
        width = row_bytes(self.dtype, columns(self))
        return ByteRange(self.file, self.location.offset + start * width, (stop - start) * width)

    def prepare(self) -> StoredTensor:
        return self

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        """Rows ``[start, stop)``, see ``LazyTensor.read``.

        Raises ``InputError`` when reading fails, ``FormatError`` when the file has become too short, ``UsageError`` for
        rows that do not exist or a file that is closed.
        """
        info = self.location.info
        if not 0 <= start <= stop <= info.rows:
            raise UsageError(f"has {info.rows} rows, not {start} to {stop}", tensor=info.name)
        width = row_bytes(info.dtype, info.columns)
        raw = np.empty((stop - start) * width, np.uint8) if out is None else out[: (stop - start) * width]
        self._read_bytes(raw, start * width)
        return self._rows(raw, stop - start, width)

    def read_columns(self, start: int, stop: int, first: int, last: int) -> Rows:
        """Columns ``[first, last)`` of rows ``[start, stop)`` of a plain type; raises as ``read``.

        Each row's piece is read by itself where it is a small part of its row; else whole rows are, some at a time.
        """
        info = self.location.info
        width, size = row_bytes(info.dtype, info.columns), row_bytes(info.dtype, 1)
        pieces = np.empty((stop - start, (last - first) * size), np.uint8)
        few = (last - first) * _FEW < info.columns
        step = 1 if few else max(1, _CHUNK // width)
        for row in range(start, stop, step):
            target = pieces[row - start : row - start + step]
            if few:
                self._read_bytes(target[0], row * width + first * size)
                continue
            whole = np.empty((len(target), width), np.uint8)
            self._read_bytes(whole.reshape(-1), row * width)
            target[...] = whole[:, first * size : last * size]
        return self._rows(pieces.reshape(-1), stop - start, pieces.shape[1])

    def _read_bytes(self, raw: NDArray[np.uint8], offset: int) -> None:
        """Fills ``raw`` from byte ``offset`` of the tensor on."""
        if not raw.nbytes:
            return
        try:
            self.file.read_into(raw.data.cast("B"), self.location.offset + offset)
        except FormatError as e:
            what, where = "ends inside the tensor", e.offset
            raise FormatError(what, file=e.file, tensor=self.name, offset=where, hint=e.hint) from e
        except InputError as e:
            e.tensor = self.name
            raise

    def _rows(self, raw: NDArray[np.uint8], count: int, width: int) -> Rows:
        kind = array_type(self.dtype, self.location.big_endian)
        rows: Rows = raw.view(kind).reshape(count, width // kind.itemsize)
        return rows if kind.isnative else rows.byteswap(inplace=True).view(kind.newbyteorder("="))

    def describe(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Constant(_Leaf):
    """A tensor computed from the config."""

    name: str
    data: NDArray[np.float32] = field(compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def sources(self) -> tuple[str, ...]:
        return ()

    @property
    def key(self) -> Hashable:
        return ("Constant", self.name, self.shape, self.data.astype("<f4").tobytes())

    def prepare(self) -> Constant:
        return self

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        rows: Rows = self.data.reshape(-1, columns(self))[start:stop]
        return rows

    def describe(self) -> str:
        return f"{self.name} {self.data.astype('<f4').tobytes().hex()}"
