"""Opening a journal file under a lock that lives as long as the file keeps its name."""

from __future__ import annotations

import os
import time
from pathlib import Path

from qconv.convert.disk import Disk
from qconv.errors import OutputError

_PATIENCE = 5.0
"""Seconds to wait for another part's short exclusive moments."""


def open_locked(disk: Disk, path: Path, *, shared: bool = False) -> int:
    """Opens (or creates) ``path`` and locks it; returns the descriptor, whose closing unlocks.

    Raises OutputError when another process holds it.  A shared lock waits a little: processes that carry out parts of
    one plan hold it alone only while one of them lays out the files.
    """
    deadline = time.monotonic() + (_PATIENCE if shared else 0)
    while True:
        fd = disk.open(path, os.O_RDWR | os.O_CREAT)
        try:
            disk.lock(fd, shared)
            if _still_named(disk, fd, path):
                return fd
        except BlockingIOError as e:
            if time.monotonic() >= deadline:
                disk.close(fd)
                raise OutputError(
                    "another process is writing this output",
                    file=path.with_name(path.name.partition(".part.journal")[0]),
                    hint="wait for it to end",
                ) from e
        except BaseException:
            disk.close(fd)
            raise
        # locked by another part for a moment, or finished and unlinked by its owner between our open and our lock
        disk.close(fd)
        time.sleep(0.02)


def _still_named(disk: Disk, fd: int, path: Path) -> bool:
    ours = disk.fstat(fd)
    try:
        named = disk.stat(path)
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino)
