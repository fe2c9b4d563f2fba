"""What differs from one operating system to the next: opening, positioned reads and writes, locks, syncing, memory.

Linux and macOS have ``preadv``, ``pwrite`` and ``flock``.  Where they are missing, as on Windows, a seek under a lock
of this process and the system's own byte-range lock stand in for them.  Every function looks when it is called, so
that a test can take a function of the system away, or bring Windows' own.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import mmap
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path, PurePath, PureWindowsPath
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


_LONGEST = 240
"""Characters of a path that every function of Windows takes; longer ones need a prefix."""
_NOT_THROUGH_LINKS = 0x00200000
"""Windows' FILE_FLAG_OPEN_REPARSE_POINT: a link itself, not what it leads to."""


def open_file(path: Path, flags: int) -> int:
    """A descriptor of a file, which may be renamed and removed while it is open.  Raises OSError.

    Windows refuses both unless a file was opened for sharing them, which Python's own ``open`` does not do.
    """
    windows = _windows()
    if windows is None:
        return os.open(path, flags, 0o666)
    if flags & os.O_CREAT and os.path.islink(path):
        raise OSError(errno.ELOOP, "is a link")
    writes = flags & (os.O_RDWR | os.O_WRONLY)
    access = 0x80000000 | (0x40000000 if writes else 0)  # GENERIC_READ, GENERIC_WRITE
    disposition = 4 if flags & os.O_CREAT else 3  # OPEN_ALWAYS, OPEN_EXISTING
    shared = 1 | 2 | 4  # reading, writing, and removing or renaming
    kind = 0x80 | (_NOT_THROUGH_LINKS if writes else 0)  # FILE_ATTRIBUTE_NORMAL
    handle = windows.kernel32.CreateFileW(extended(path), access, shared, None, disposition, kind, None)
    if handle in (-1, None, 2 ** (8 * ctypes.sizeof(ctypes.c_void_p)) - 1):
        raise windows.error()
    descriptor: int = windows.msvcrt.open_osfhandle(handle, os.O_RDWR if writes else os.O_RDONLY)
    return descriptor


def extended(path: PurePath) -> str:
    """A path as the system takes it: on Windows with the prefix that lifts the limit of 260 characters."""
    text = os.fspath(path)
    pure = PureWindowsPath(text)
    if _windows() is None or len(text) < _LONGEST or text.startswith("\\\\?\\") or not pure.is_absolute():
        return text
    plain = str(pure)  # the prefix takes no slashes
    return "\\\\?\\UNC" + plain[1:] if plain.startswith("\\\\") else "\\\\?\\" + plain


class _Windows:
    """The parts of Windows that are called by hand."""

    def __init__(self) -> None:
        self.msvcrt: Any = importlib.import_module("msvcrt")
        self.kernel32: Any = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]  # there
        self.kernel32.CreateFileW.restype = ctypes.c_void_p

    def error(self) -> OSError:
        return ctypes.WinError(ctypes.get_last_error())  # type: ignore[attr-defined,no-any-return,unused-ignore]  # there


def _windows() -> _Windows | None:
    return _Windows() if hasattr(ctypes, "WinDLL") else None


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
    msvcrt: Any = importlib.import_module("msvcrt")
    place = 1 << 40  # far past the end, where a lock keeps nobody from reading the file
    with _SEEKING:
        os.lseek(descriptor, place, os.SEEK_SET)
        with suppress(OSError):  # a lock held already would be in its own way
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
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
        status = os.statvfs(directory)
        return status.f_bavail * status.f_frsize
    import shutil

    return shutil.disk_usage(directory).free


def allocated_bytes(stat: os.stat_result) -> int:
    """Bytes of disk a file takes, which are fewer than its size where it has holes."""
    blocks: int | None = getattr(stat, "st_blocks", None)
    return stat.st_size if blocks is None else blocks * 512


def not_in_names() -> str:
    """Characters that the name of a file cannot have here."""
    return '/\\:*?"<>|' if _windows() is not None else "/"


def resident_bytes() -> int:
    """Bytes of this process now in memory; its peak, where the system tells no more."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
    except OSError:
        pass
    windows = _windows()
    if windows is not None:
        counters = _MemoryCounters(size=ctypes.sizeof(_MemoryCounters))
        windows.kernel32.GetCurrentProcess.restype = ctypes.c_void_p
        process = ctypes.c_void_p(windows.kernel32.GetCurrentProcess())
        if not windows.kernel32.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.size):
            raise windows.error()
        return int(counters.working_set)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


class _MemoryCounters(ctypes.Structure):
    """Windows' PROCESS_MEMORY_COUNTERS."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("page_faults", ctypes.c_uint32),
        ("peak_working_set", ctypes.c_size_t),
        ("working_set", ctypes.c_size_t),
        *((f"quota_{n}", ctypes.c_size_t) for n in range(4)),
        ("page_file", ctypes.c_size_t),
        ("peak_page_file", ctypes.c_size_t),
    ]


def give_back_memory() -> None:
    """Returns freed memory to the system, where the C library can."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
