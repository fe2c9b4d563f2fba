"""Matrices that come over a line and are read by columns: fetched once, into a temporary file.

A strip of columns takes a piece of every row.  Over a line all of a matrix would be fetched for each of its strips.
"""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass, field
from typing import IO

import numpy as np
import platformdirs
from numpy.typing import NDArray

from qconv.errors import QconvError
from qconv.storage import is_ranged
from qconv.tensors.base import LazyTensor, Unary, bytes_of_rows, columns
from qconv.tensors.dtypes import array_type, row_bytes
from qconv.tensors.stored_ranges import stored_files
from qconv.types import Rows

_CHUNK = 4 << 20
"""Bytes fetched at a time."""
_KEPT = 2
"""Matrices at a time: of two neighbours, the end of one may be read while the next one has begun."""


class _Scratch:
    """A temporary file, which goes when nobody has it any more."""

    def __init__(self) -> None:
        place = platformdirs.user_cache_path("qconv")
        place.mkdir(parents=True, exist_ok=True)
        self.file: IO[bytes] = tempfile.TemporaryFile(prefix="matrix-", dir=place)  # noqa: SIM115  # closed below
        self.lock = threading.Lock()

    def __del__(self) -> None:
        if hasattr(self, "file"):
            self.file.close()


@dataclass(frozen=True, slots=True)
class Spooled(Unary):
    """One matrix of ``inner``, in a file of its own."""

    scratch: _Scratch = field(repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inner.shape[-2:]

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        return self.read_columns(start, stop, 0, columns(self))

    def read_columns(self, start: int, stop: int, first: int, last: int) -> Rows:
        """Columns ``[first, last)`` of rows ``[start, stop)``."""
        width, size = bytes_of_rows(self, 1), row_bytes(self.dtype, 1)
        pieces = np.empty((stop - start, (last - first) * size), np.uint8)
        with self.scratch.lock:
            for row, piece in enumerate(pieces, start):
                self.scratch.file.seek(row * width + first * size)
                self.scratch.file.readinto(piece.data)  # type: ignore[attr-defined]  # typeshed lacks it of IO
        rows: Rows = pieces.view(array_type(self.dtype))
        return rows

    def describe(self) -> str:
        return self.inner.describe()


class Spool:
    """The matrices of a tensor that were read last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[int, Spooled] = {}

    def matrix(self, tensor: LazyTensor, number: int) -> Spooled:
        """A matrix of ``tensor``, fetched if it is not one of the last; QconvError when the disk does not take it."""
        with self._lock:  # whoever needs the same matrix waits for it
            matrix = self._kept.pop(number, None) or _fetched(tensor, number)
            self._kept[number] = matrix
            if len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]
            return matrix


def is_remote(tensor: LazyTensor) -> bool:
    """Whether some of what a tensor is made from comes over a line."""
    return any(map(is_ranged, stored_files(tensor)))


def _fetched(tensor: LazyTensor, number: int) -> Spooled:
    rows = tensor.shape[-2]
    step = max(1, _CHUNK // max(1, bytes_of_rows(tensor, 1)))
    try:
        scratch = _Scratch()
        for first in range(0, rows, step):
            last = min(rows, first + step)
            scratch.file.write(np.ascontiguousarray(tensor.read(number * rows + first, number * rows + last)).data)
        scratch.file.flush()
    except OSError as e:
        place = platformdirs.user_cache_path("qconv")
        message = f"a temporary file for it cannot be written in {place}: {e.strerror}"
        raise QconvError(message, tensor=tensor.sources[0], hint="make room there, or download the model first") from e
    return Spooled(tensor, scratch)
