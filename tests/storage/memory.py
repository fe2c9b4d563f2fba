"""A folder in memory: another kind of storage than a disk, whose reads can be made to fail."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from qconv.errors import FormatError, InputError
from qconv.storage import LARGEST_SMALL_FILE, FileIdentity, is_inside


class MemoryFile:
    """A ``StoredFile`` of bytes; ``before`` is called before each positioned read of rows."""

    sha256: None = None

    def __init__(self, name: str, data: bytes, before: Callable[[], None]) -> None:
        self.name = name
        self.location = f"memory:{name}"
        self.size = len(data)
        self._data = data
        self._before = before

    def identity(self) -> FileIdentity:
        return FileIdentity(self.location, self.size, hashlib.sha256(self._data).hexdigest())

    def read(self, size: int, offset: int) -> bytes:
        return self._data[offset : offset + size]

    def read_into(self, view: memoryview, offset: int) -> None:
        self._before()
        if offset + len(view) > self.size:
            raise FormatError("ends too early", file=self.location, offset=offset)
        view[:] = self._data[offset : offset + len(view)]

    def prefetch(self, size: int) -> None:
        pass

    def close(self) -> None:
        pass


class MemoryFolder:
    """A ``Folder`` of such files."""

    def __init__(self, name: str, files: dict[str, bytes], before: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.location = f"memory:{name}"
        self._files = files
        self._before = before

    @classmethod
    def of(cls, directory: Path, before: Callable[[], None] = lambda: None) -> MemoryFolder:
        """A copy of a directory."""
        return cls(directory.name, {path.name: path.read_bytes() for path in directory.iterdir()}, before)

    def names(self, below: str = "") -> list[str]:
        return [] if below else sorted(self._files)

    def has(self, name: str) -> bool:
        return is_inside(name) and name in self._files

    def locate(self, name: str) -> str:
        return f"{self.location}/{name}"

    def read(self, name: str, limit: int = LARGEST_SMALL_FILE) -> bytes:
        if name not in self._files:
            raise InputError("is not there", file=self.locate(name))
        return self._files[name]

    def open(self, name: str) -> MemoryFile:
        return MemoryFile(name, self.read(name), self._before)
