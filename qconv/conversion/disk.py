"""Every call the output side makes to the file system, in one place, so that a test can make any of them fail."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from qconv import platform
from qconv.types import Rows

Kind: TypeAlias = Literal["nothing", "file", "link", "other"]
"""What has a name: a rename may replace all but the last."""

_IN_THE_WAY = "a link or something else that is not a regular file has this name; move it away"


class Disk:
    """The real thing.  Methods raise ``OSError`` as the system does; callers say which file and tensor it was about."""

    def open(self, path: Path, flags: int) -> int:
        """Opens a regular file, never what a link leads to, which may be any file.

        Raises ``FileExistsError`` for anything but a regular file: whoever can write here may have put it in the way.
        """
        try:
            descriptor = platform.open_file(path, flags | platform.NO_FOLLOW)
        except OSError as e:
            if e.errno in (errno.ELOOP, errno.ENXIO):
                raise FileExistsError(errno.EEXIST, _IN_THE_WAY) from e
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileExistsError(errno.EEXIST, _IN_THE_WAY)
        return descriptor

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def read(self, path: Path, limit: int) -> bytes:
        """The first ``limit`` bytes of a file."""
        with open(platform.extended(path), "rb") as f:
            return f.read(limit)

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        data = bytearray(size)
        return bytes(data[: platform.read_into(descriptor, memoryview(data), offset)])

    def pwrite(self, descriptor: int, data: memoryview, offset: int) -> int:
        return platform.write_at(descriptor, data, offset)

    def fdatasync(self, descriptor: int) -> None:
        platform.sync_data(descriptor)

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def rename(self, source: Path, target: Path) -> None:
        os.replace(platform.extended(source), platform.extended(target))

    def unlink(self, path: Path) -> None:
        os.unlink(platform.extended(path))

    def lock(self, descriptor: int, shared: bool) -> None:
        """Locks without waiting; ``BlockingIOError`` when another process holds it."""
        platform.lock(descriptor, shared)

    def fstat(self, descriptor: int) -> os.stat_result:
        return os.fstat(descriptor)

    def stat(self, path: Path) -> os.stat_result:
        return os.stat(platform.extended(path))

    def free(self, path: Path) -> int:
        """Bytes a user may still write to the file system that holds ``path``."""
        return platform.free_bytes(path)

    def kind(self, path: Path) -> Kind:
        """What has the name now; a link counts as one wherever it leads."""
        try:
            mode = os.lstat(platform.extended(path)).st_mode
        except FileNotFoundError:
            return "nothing"
        return "file" if stat.S_ISREG(mode) else "link" if stat.S_ISLNK(mode) else "other"

    def beginning_with(self, path: Path) -> list[Path]:
        """Files beside ``path`` whose names begin with its name, ``path`` itself left out."""
        names = sorted(os.listdir(platform.extended(path.parent)))
        own = os.path.normcase(path.name)  # on Windows, names differ by more than case
        return [path.with_name(n) for n in names if (other := os.path.normcase(n)).startswith(own) and other != own]

    def write_all(self, descriptor: int, data: bytes | Rows, offset: int) -> None:
        """Writes all of ``data``: one ``pwrite`` may take fewer bytes than it is given (Linux: at most 2 GiB)."""
        left = memoryview(data if isinstance(data, bytes) else np.ascontiguousarray(data).data).cast("B")
        while left:
            done = self.pwrite(descriptor, left, offset)
            left = left[done:]
            offset += done

    def sync_directory(self, directory: Path) -> None:
        """Makes the names in a directory as lasting as the files they name."""
        platform.sync_directory(directory)
