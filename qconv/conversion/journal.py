"""The journal beside a part file: which rows of which tensors are surely on disk.  It is also the lock.

Text, one record a line, each line led by the CRC-32 of the rest, so that a torn or zeroed end is recognized and cut
off.  The first line names the plan by its fingerprint and this making of the part file by a random id.  After it come

``done TENSOR:START-STOP ...``   rows synced to disk before the line was written (tensors counted as in the plan)
``finishing``                    everything is done and synced; files are being renamed
"""

from __future__ import annotations

import os
import re
import secrets
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qconv import platform
from qconv.conversion.disk import Disk
from qconv.errors import OutputError
from qconv.pipeline import Ranges

LARGEST = 256 << 20
"""Bytes of a journal that are read; a 700 B-weight conversion writes less than a hundredth of this."""

_FIRST = re.compile(r"qconv-journal 1 ([0-9a-f]{64}) ([0-9a-f]{32})")
_RANGE = re.compile(r"(\d{1,9}):(\d{1,18})-(\d{1,18})")
_CHUNK = 1 << 20
_PATIENCE = 5.0
"""Seconds to wait for another part's short exclusive moments."""

Batch = Iterable[tuple[int, Ranges]]


@dataclass(slots=True)
class Journal:
    """What a journal says; ``size``: bytes up to the end of its last whole record."""

    fingerprint: str
    id: str
    done: dict[int, Ranges]
    finishing: bool
    size: int


class JournalFile:
    """A journal on disk, open and locked.

    ``contents``: what it said when it was opened, None when that was nothing of use.  Raises OutputError when another
    process holds it.
    """

    def __init__(self, disk: Disk, path: Path, *, shared: bool = False) -> None:
        self.path = path
        self.shared = shared
        self._disk = disk
        self._descriptor = _open_locked(disk, path, shared=shared)
        try:
            data = self._read()
            self.contents = parse(data)
        except BaseException:
            disk.close(self._descriptor)
            raise
        self.empty = not data
        self._size = self.contents.size if self.contents is not None else 0

    def restart(self, fingerprint: str, id: str | None = None) -> str:
        """Empties the journal and writes its first line; returns the id in it.  Lasting when this returns."""
        line, id = first_line(fingerprint, id)
        self._disk.truncate(self._descriptor, 0)
        self._size = 0
        self.append(line)
        self.contents = Journal(fingerprint, id, {}, False, self._size)
        return id

    def resume(self) -> None:
        """Cuts off what follows the last whole record, so that new ones can be appended."""
        self._disk.truncate(self._descriptor, self._size)

    def append(self, line: bytes) -> None:
        """Adds a record.  Lasting when this returns."""
        self._disk.write_all(self._descriptor, line, self._size)
        self._disk.fdatasync(self._descriptor)
        self._size += len(line)
        self.empty = False

    def share(self) -> None:
        """Turns a lock held alone into a shared one."""
        self._disk.lock(self._descriptor, True)
        self.shared = True

    def close(self) -> None:
        """Unlocks.  A journal that never got a first line, because there was nothing to begin, is removed."""
        try:
            if self.empty and not self.shared:
                self._disk.unlink(self.path)
        finally:
            self._disk.close(self._descriptor)

    def _read(self) -> bytes:
        data = b""
        while len(data) < LARGEST and (more := self._disk.pread(self._descriptor, _CHUNK, len(data))):
            data += more
        return data


def first_line(fingerprint: str, id: str | None = None) -> tuple[bytes, str]:
    """The line that opens a journal, and the id in it (a new one when none is given)."""
    id = id or secrets.token_hex(16)
    return _line(f"qconv-journal 1 {fingerprint} {id}"), id


def done_line(batch: Batch) -> bytes:
    return _line(" ".join(["done", *(f"{tensor}:{a}-{b}" for tensor, rows in batch for a, b in rows)]))


def finishing_line() -> bytes:
    return _line("finishing")


def parse(data: bytes) -> Journal | None:
    """The records up to the first line that is torn, damaged or unknown; None when even the first line is."""
    journal: Journal | None = None
    for line in data.splitlines(keepends=True):
        text = _checked(line)
        if journal is None:
            first = _FIRST.fullmatch(text)
            if first is None:
                return None
            journal = Journal(first[1], first[2], {}, False, 0)
        elif text == "finishing":
            journal.finishing = True
        elif not _add(text, journal.done):
            break
        journal.size += len(line)
    return journal


def _line(text: str) -> bytes:
    data = text.encode()
    return b"%08x %s\n" % (zlib.crc32(data), data)


def _checked(line: bytes) -> str:
    """A line's text, empty unless it is whole."""
    text = line[9:-1]
    return text.decode("ascii", "replace") if line == b"%08x %s\n" % (zlib.crc32(text), text) else ""


def _add(text: str, done: dict[int, Ranges]) -> bool:
    word, *ranges = text.split(" ")
    matches = [_RANGE.fullmatch(r) for r in ranges]
    if word != "done" or not all(matches):
        return False
    for match in matches:
        if match is not None:
            done.setdefault(int(match[1]), Ranges()).add(int(match[2]), int(match[3]))
    return True


def _open_locked(disk: Disk, path: Path, *, shared: bool) -> int:
    """Opens (or creates) ``path`` and locks it for as long as it keeps its name; closing the descriptor unlocks.

    Raises OutputError when another process holds it.  A shared lock waits a little: processes that do parts of one
    plan hold it alone only while one of them lays out the files.
    """
    deadline = time.monotonic() + (_PATIENCE if shared else 0)
    while True:
        descriptor = disk.open(path, platform.WRITE_FLAGS | os.O_CREAT)
        try:
            disk.lock(descriptor, shared)
            if _still_named(disk, descriptor, path):
                return descriptor
        except BlockingIOError as e:
            if time.monotonic() >= deadline:
                disk.close(descriptor)
                raise OutputError(
                    "another process is writing this output",
                    file=path.with_name(path.name.partition(".part.journal")[0]),
                    hint="wait for it to end",
                ) from e
        except BaseException:
            disk.close(descriptor)
            raise
        # locked by another part for a moment, or finished and unlinked by its owner between our open and our lock
        disk.close(descriptor)
        time.sleep(0.02)


def _still_named(disk: Disk, descriptor: int, path: Path) -> bool:
    ours = disk.fstat(descriptor)
    try:
        named = disk.stat(path)
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino)
