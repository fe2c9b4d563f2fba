"""A journal on disk, opened under its lock."""

from __future__ import annotations

from pathlib import Path

from qconv.convert import journal
from qconv.convert.disk import Disk
from qconv.convert.lock import open_locked

_CHUNK = 1 << 20


class JournalFile:
    """An open, locked journal.  ``found``: what it said when it was opened, None when that was nothing of use."""

    def __init__(self, disk: Disk, path: Path, *, shared: bool = False) -> None:
        self.path = path
        self.shared = shared
        self._disk = disk
        self._fd = open_locked(disk, path, shared=shared)
        try:
            data = self._read()
            self.found = journal.parse(data)
        except BaseException:
            disk.close(self._fd)
            raise
        self.empty = not data
        self._size = self.found.size if self.found is not None else 0

    def restart(self, fingerprint: str, id: str | None = None) -> str:
        """Empties the journal and writes its first line; returns the id in it.  Lasting when this returns."""
        line, id = journal.first_line(fingerprint, id)
        self._disk.truncate(self._fd, 0)
        self._size = 0
        self.append(line)
        self.found = journal.Journal(fingerprint, id, {}, False, self._size)
        return id

    def resume(self) -> None:
        """Cuts off what follows the last whole record, so that new ones can be appended."""
        self._disk.truncate(self._fd, self._size)

    def append(self, line: bytes) -> None:
        """Adds a record.  Lasting when this returns."""
        self._disk.write_all(self._fd, line, self._size)
        self._disk.fdatasync(self._fd)
        self._size += len(line)
        self.empty = False

    def share(self) -> None:
        """Turns a lock held alone into a shared one."""
        self._disk.lock(self._fd, True)
        self.shared = True

    def close(self) -> None:
        """Unlocks.  A journal that never got a first line, because there was nothing to begin, is removed."""
        try:
            if self.empty and not self.shared:
                self._disk.unlink(self.path)
        finally:
            self._disk.close(self._fd)

    def _read(self) -> bytes:
        data = b""
        while len(data) < journal.LARGEST and (more := self._disk.pread(self._fd, _CHUNK, len(data))):
            data += more
        return data
