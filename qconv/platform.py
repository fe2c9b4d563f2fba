"""What differs from one operating system to the next: positioned reads and writes, locks, syncing, free space.

Linux and macOS have ``preadv``, ``pwrite`` and ``flock``.  Where they are missing, as on Windows, a seek under a lock
of this process and the system's own byte-range lock stand in for them.  Every function looks when it is called, so
that a test can take a function of the system away.
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

_SEEKING = threading.Lock()
"""Held from a seek to the read or write that follows it, where a system cannot do both in one call."""

READ_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""To open a file for reading; without ``O_NONBLOCK``, opening a named pipe would wait for its other end."""

WRITE_FLAGS = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""To open a file for reading and writing."""

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""Beside those: not a file that a symbolic link leads to."""

WRITE_THROUGH = getattr(os, "O_DSYNC", 0)
"""Beside those: writes reach the disk before they return, where the system has that."""


def read_into(descriptor: int, view: memoryview, offset: int) -> int:
    """Fills ``view`` from byte ``offset`` on; returns how many bytes were read, 0 at the end.  Raises OSError."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [view], offset)
    with _SEEKING:
        os.lseek(descriptor, offset, os.SEEK_SET)
        data = os.read(descriptor, len(view))
    view[: len(data)] = data
    return len(data)


def write_at(descriptor: int, view: memoryview, offset: int) -> int:
    """Writes ``view`` at byte ``offset``; returns how many bytes were written, which may be fewer.  Raises OSError."""
    if hasattr(os, "pwrite"):
        return os.pwrite(descriptor, view, offset)
    with _SEEKING:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, view)


def lock(descriptor: int, shared: bool) -> None:
    """Locks an open file without waiting, until it is closed; ``BlockingIOError`` when another process holds it.

    Where there is only Windows' byte-range lock, no lock is shared: parts of one conversion run one after another.
    """
    try:
        import fcntl
    except ImportError:
        _lock_first_byte(descriptor)
    else:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _lock_first_byte(descriptor: int) -> None:
    import importlib

    msvcrt: Any = importlib.import_module("msvcrt")
    place = 1 << 40  # far past the end, where a lock keeps nobody from reading the file
    with _SEEKING:
        os.lseek(descriptor, place, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as e:
            raise BlockingIOError(errno.EAGAIN, "is locked by another process") from e


def sync_data(descriptor: int) -> None:
    """Waits until a file's contents, though perhaps not its times, are on disk."""
    (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(descriptor)


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory as lasting as the files they name; nothing where directories cannot be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes(directory: Path) -> int:
    """Bytes a user may still write to the file system that holds ``directory``."""
    if hasattr(os, "statvfs"):
        found = os.statvfs(directory)
        return found.f_bavail * found.f_frsize
    import shutil

    return shutil.disk_usage(directory).free


def allocated_bytes(stat: os.stat_result) -> int:
    """Bytes of disk a file takes, which are fewer than its size where it has holes."""
    blocks: int | None = getattr(stat, "st_blocks", None)
    return stat.st_size if blocks is None else blocks * 512
