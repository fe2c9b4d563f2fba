"""Every call the output side makes to the file system, in one place, so that a test can make any of them fail."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

import numpy as np

from qconv.types import Rows

_IN_THE_WAY = "a link or something else that is no file has this name; move it away"


class Disk:
    """The real thing.  Methods raise ``OSError`` as the system does; callers say which file and tensor it was about."""

    def open(self, path: Path, flags: int) -> int:
        """A file for reading and writing, made if need be; never what a link leads to, which may be any file.

        Raises ``FileExistsError`` for anything but a regular file: whoever can write here may have put it in the way.
        """
        try:
            fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except OSError as e:
            if e.errno in (errno.ELOOP, errno.ENXIO):
                raise FileExistsError(errno.EEXIST, _IN_THE_WAY) from e
            raise
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise FileExistsError(errno.EEXIST, _IN_THE_WAY)
        return fd

    def close(self, fd: int) -> None:
        os.close(fd)

    def read(self, path: Path, limit: int) -> bytes:
        """The first ``limit`` bytes of a file."""
        with path.open("rb") as f:
            return f.read(limit)

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, size, offset)

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def fdatasync(self, fd: int) -> None:
        (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(fd)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def rename(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def lock(self, fd: int, shared: bool) -> None:
        """Locks without waiting; ``BlockingIOError`` when another process holds it."""
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)

    def fstat(self, fd: int) -> os.stat_result:
        return os.fstat(fd)

    def stat(self, path: Path) -> os.stat_result:
        return os.stat(path)

    def free(self, path: Path) -> int:
        """Bytes a user may still write to the file system that holds ``path``."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def exists(self, path: Path) -> bool:
        """Whether the name is taken, if only by a link that leads nowhere."""
        try:
            os.lstat(path)
        except FileNotFoundError:
            return False
        return True

    def replaceable(self, path: Path) -> bool:
        """Whether the name is free, or that of a file or of a link, which a rename replaces, not what it leads to."""
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return True
        return stat.S_ISREG(mode) or stat.S_ISLNK(mode)

    def beginning_with(self, path: Path) -> list[Path]:
        """Files beside ``path`` whose names begin with its name, ``path`` itself left out."""
        names = sorted(os.listdir(path.parent))
        return [path.with_name(n) for n in names if n.startswith(path.name) and n != path.name]

    def write_all(self, fd: int, data: bytes | Rows, offset: int) -> None:
        """Writes all of ``data``: one ``pwrite`` may take fewer bytes than it is given (Linux: at most 2 GiB)."""
        left = memoryview(data if isinstance(data, bytes) else np.ascontiguousarray(data).data).cast("B")
        while left:
            done = self.pwrite(fd, left, offset)
            left = left[done:]
            offset += done

    def sync_directory(self, directory: Path) -> None:
        """Makes the names in a directory as lasting as the files they name."""
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.fsync(fd)
        finally:
            self.close(fd)
