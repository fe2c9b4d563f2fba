"""Windows, as far as it can be played elsewhere: what it lacks is taken away, what it has instead is put there.

``CreateFileW``, ``msvcrt.open_osfhandle`` and ``msvcrt.locking`` do what Microsoft's documentation says of them: a file
opened without sharing cannot be renamed (here: is refused at once), locks of a byte are of one handle alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

LACKING = ("preadv", "pwrite", "sched_getaffinity", "posix_fadvise", "fdatasync", "statvfs", "O_DIRECTORY")
RESIDENT = 123_456_789


def play(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[int, int], int]:
    """Until the test ends; returns which descriptor has locked which file, by device and number."""
    for name in LACKING:
        monkeypatch.delattr(os, name, raising=False)
    locks: dict[tuple[int, int], int] = {}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 40))  # of statvfs here
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setitem(sys.modules, "msvcrt", _msvcrt(locks))
    monkeypatch.setattr(ctypes, "WinDLL", lambda name, use_last_error: _Kernel(), raising=False)
    monkeypatch.setattr(ctypes, "get_last_error", lambda: errno.ENOENT, raising=False)
    monkeypatch.setattr(ctypes, "WinError", lambda code: OSError(code, os.strerror(code)), raising=False)
    return locks


def _create_file(path: str, access: int, shared: int, security: None, disposition: int, kind: int, _: None) -> int:
    assert shared == 7, "others may read, write, rename and remove it"
    assert len(path) < 260 or path.startswith("\\\\?\\"), "the path is too long"
    flags = (os.O_RDWR if access & 0x40000000 else os.O_RDONLY) | (os.O_CREAT if disposition == 4 else 0)
    try:
        return os.open(path, flags, 0o666)
    except OSError:
        invalid: int = 2 ** (8 * ctypes.sizeof(ctypes.c_void_p)) - 1  # INVALID_HANDLE_VALUE
        return invalid


class _Kernel:
    """Calls are looked up anew in each: attributes such as ``restype`` are set on them."""

    def __init__(self) -> None:
        self.CreateFileW = _callable(_create_file)
        self.GetCurrentProcess = _callable(lambda: 1)
        self.K32GetProcessMemoryInfo = _callable(self._memory)

    def _memory(self, process: object, counters: Any, size: int) -> int:
        counters._obj.working_set = RESIDENT
        return 1


def _callable(function: Any) -> Any:
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    return call


def _msvcrt(locks: dict[tuple[int, int], int]) -> ModuleType:
    def locking(descriptor: int, mode: int, count: int) -> None:
        about = os.fstat(descriptor)
        file = (about.st_dev, about.st_ino)
        holder = locks.get(file)
        held = holder is not None and _is_of(holder, file)
        if mode == 0:
            if holder != descriptor:
                raise OSError(errno.EACCES, "not locked")
            del locks[file]
        elif held:
            raise OSError(errno.EACCES, "locked")
        else:
            locks[file] = descriptor

    module = ModuleType("msvcrt")
    module.__dict__.update(vars(SimpleNamespace(LK_UNLCK=0, LK_NBLCK=2, locking=locking, open_osfhandle=_descriptor)))
    return module


def _descriptor(handle: int, flags: int) -> int:
    return handle


def _is_of(descriptor: int, file: tuple[int, int]) -> bool:
    """Whether it is still open, and that file."""
    try:
        about = os.fstat(descriptor)
    except OSError:
        return False
    return (about.st_dev, about.st_ino) == file
