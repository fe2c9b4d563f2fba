"""Folders and files of this machine."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath, PureWindowsPath

from qconv import platform
from qconv.errors import FormatError, InputError, UsageError
from qconv.storage.base import LARGEST_SMALL_FILE, FileIdentity

_PREFETCH_STEP = 1 << 20
"""Bytes; of a longer range, Linux reads only the beginning."""
_CACHED_MODEL = re.compile(r"models--(?:.+--)?(?P<name>.+)")


class LocalFolder:
    """A ``Folder`` on a disk.  Symbolic links in it are followed, as every program does."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def location(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """The folder's own name; for a snapshot in a Hugging Face cache, that of its repository."""
        path = self.path.absolute()
        if path.parent.name == "snapshots" and (cached := _CACHED_MODEL.fullmatch(path.parent.parent.name)):
            return cached["name"]
        return path.name

    def names(self, below: str = "") -> list[str]:
        folder = platform.extended(self._inside(below) if below else self.path)
        if below and not os.path.isdir(folder):
            return []
        try:
            return sorted(os.listdir(folder))
        except OSError as e:
            raise InputError(f"cannot be listed: {e.strerror}", file=self.path) from e

    def has(self, name: str) -> bool:
        return is_inside(name) and os.path.isfile(platform.extended(self.path / name))  # False for names too long, too

    def locate(self, name: str) -> str:
        return str(self.path / name)

    def read(self, name: str, limit: int = LARGEST_SMALL_FILE) -> bytes:
        return read_small(self._inside(name), limit)

    def open(self, name: str) -> LocalFile:
        return LocalFile(self._inside(name))

    def _inside(self, name: str) -> Path:
        if not is_inside(name):
            hint = "only files of its own folder are read: put it there, or get the model from another place"
            raise FormatError(f"names a file outside its folder, '{name}'", file=self.path, hint=hint)
        return self.path / name


class LocalFile:
    """A ``StoredFile`` on a disk, kept open so that what was checked is what is read later."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = open_regular(path)
        self._open = True
        self.size = os.fstat(self._descriptor).st_size

    @property
    def location(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def sha256(self) -> str | None:
        return None

    def identity(self) -> FileIdentity:
        """By the file that has the name now, which may be another than the one that is open."""
        try:
            status = os.stat(platform.extended(self.path))
        except OSError as e:
            raise InputError(f"cannot be read: {e.strerror}", file=self.path) from e
        return FileIdentity(str(self.path.absolute()), status.st_size, str(status.st_mtime_ns))

    def read(self, size: int, offset: int) -> bytes:
        data = bytearray(max(0, min(size, self.size - offset)))
        view = memoryview(data)
        while view:
            count = self._read(view, offset)
            if not count:
                break
            view, offset = view[count:], offset + count
        return bytes(data[: len(data) - len(view)])

    def read_into(self, view: memoryview, offset: int) -> None:
        while view:
            count = self._read(view, offset)
            if not count:
                hint = "it became shorter since it was opened; download or copy it again"
                raise FormatError("ends too early", file=self.path, offset=offset, hint=hint)
            view, offset = view[count:], offset + count

    def prefetch(self, size: int) -> None:
        if not hasattr(os, "posix_fadvise"):
            return
        with suppress(OSError):
            stop = min(size, self.size)
            for start in range(0, stop, _PREFETCH_STEP):
                step = min(_PREFETCH_STEP, stop - start)
                os.posix_fadvise(self._descriptor, start, step, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._descriptor)

    def _read(self, view: memoryview, offset: int) -> int:
        if not self._open:
            raise UsageError("is closed", file=self.path)
        try:
            return platform.read_into(self._descriptor, view, offset)
        except OSError as e:
            raise InputError(f"cannot be read: {e.strerror}", file=self.path) from e


def is_inside(name: str) -> bool:
    """Whether a file of that name lies in the folder that names it: no absolute path, no ``..``, on any system."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    leads_out = posix.is_absolute() or bool(windows.anchor) or ".." in posix.parts or ".." in windows.parts
    return bool(name) and "\0" not in name and not leads_out


def open_regular(path: Path) -> int:
    """A descriptor to read ``path`` from; raises ``InputError`` when it cannot be opened or is not a regular file."""
    try:
        descriptor = platform.open_file(path, platform.READ_FLAGS)
    except FileNotFoundError as e:
        if not path.is_symlink():
            raise InputError(f"cannot be opened: {e.strerror}", file=path) from e
        hint = "is the disk it leads to there? else download it again"
        raise InputError(f"is a link to {os.readlink(path)}, where nothing is", file=path, hint=hint) from e
    except OSError as e:
        raise InputError(f"cannot be opened: {e.strerror}", file=path) from e
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError("is not a regular file", file=path)
    return descriptor


def read_small(path: Path, limit: int = LARGEST_SMALL_FILE) -> bytes:
    """The whole file, refused when it is larger than ``limit`` bytes or not a regular file."""
    try:
        with open(open_regular(path), "rb") as f:
            data = f.read(limit + 1)
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror}", file=path) from e
    if len(data) > limit:
        raise FormatError(f"is larger than {limit} bytes", file=path)
    return data
