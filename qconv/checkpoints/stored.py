"""Row ranges of tensors as files hold them, by positioned reads into the caller's buffers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qconv.checkpoints.dtypes import array_type, row_bytes
from qconv.errors import FormatError, InputError, UsageError
from qconv.files import open_regular
from qconv.types import Rows, TensorInfo, TensorReader


class Source(TensorReader, Protocol):
    """A tensor reader that holds something open."""

    def close(self) -> None:
        """Lets go of files and caches; reading afterwards is an error."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor lies: which file, at which byte; ``big_endian`` if its numbers are stored that way round."""

    info: TensorInfo
    file: int
    offset: int
    big_endian: bool = False


class OpenFiles:
    """Files held open for reading, so that what was checked is what is read later."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.descriptors: list[int] = []

    def add(self, path: Path) -> int:
        """Opens ``path`` and returns its descriptor; raises ``InputError`` when that fails."""
        descriptor = open_regular(path)
        self.paths.append(path)
        self.descriptors.append(descriptor)
        return descriptor

    def close(self) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())


class Stored:
    """Tensors at known places of open files.  Any number of threads may read at once."""

    def __init__(self, files: OpenFiles, places: Sequence[Place]) -> None:
        self._files = files
        self._places = {place.info.name: place for place in places}
        self._tensors = {place.info.name: place.info for place in places}

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self._tensors

    def read(self, name: str, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        """Rows ``[start, stop)``, see ``TensorReader.read``.

        Raises ``InputError`` when reading fails, ``FormatError`` when the file has become too short, ``UsageError`` for
        rows or a tensor that do not exist.
        """
        place = self._places.get(name)
        if place is None:
            raise UsageError("is not in the checkpoint", tensor=name)
        info = place.info
        if not 0 <= start <= stop <= info.rows:
            raise UsageError(f"has {info.rows} rows, not {start} to {stop}", tensor=name)
        width = row_bytes(info.dtype, info.columns)
        buffer = np.empty((stop - start) * width, np.uint8) if out is None else out[: (stop - start) * width]
        if buffer.nbytes:
            self._fill(place, buffer.data.cast("B"), place.offset + start * width)
        dtype = array_type(info.dtype, place.big_endian)
        rows = buffer.view(dtype).reshape(stop - start, width // dtype.itemsize)
        return rows if dtype.isnative else rows.byteswap(inplace=True).view(dtype.newbyteorder("="))

    def _fill(self, place: Place, view: memoryview, offset: int) -> None:
        path = self._files.paths[place.file]
        if not self._files.descriptors:
            raise UsageError("is closed", file=path)
        descriptor = self._files.descriptors[place.file]
        while view:
            try:
                count = os.preadv(descriptor, [view], offset)
            except OSError as e:
                raise InputError(f"cannot be read: {e.strerror}", file=path, tensor=place.info.name) from e
            if not count:
                hint = "it became shorter since it was opened; download or copy it again"
                raise FormatError("ends inside the tensor", file=path, tensor=place.info.name, offset=offset, hint=hint)
            view, offset = view[count:], offset + count

    def close(self) -> None:
        self._files.close()
