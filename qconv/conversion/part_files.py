"""One plan's output on its way: part files, their journal, and the renaming at the end.

``NAME.gguf`` is written as ``NAME.gguf.part`` beside ``NAME.gguf.part.journal``; a split output has one journal, named
after its first file.  The journal is also the lock: whoever converts a whole plan holds it alone, whoever does ``--part
3/16`` shares it and keeps what it has done in ``NAME.gguf.part.journal.3of16``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from qconv import __version__, cores, platform
from qconv.conversion import journal, manifest, resume
from qconv.conversion.disk import Disk
from qconv.conversion.journal import JournalFile
from qconv.conversion.os_errors import os_errors
from qconv.errors import OutputError
from qconv.options import Part, RunOptions
from qconv.pipeline import Ranges
from qconv.plan import Plan
from qconv.storage import StoredFile
from qconv.types import Rows


class PartFiles:
    """Call ``acquire``, ``begin``, ``write`` and ``sync`` as rows are done, then ``complete``; always ``close``."""

    def __init__(self, plan: Plan, directory: Path, disk: Disk) -> None:
        self.plan = plan
        self.disk = disk
        self.directory = directory
        self.finals = tuple(directory / f.name for f in plan.files)
        self.parts = tuple(p.with_name(p.name + ".part") for p in self.finals)
        self.manifest = manifest.path_of(self.finals[0])
        self.done: Sequence[Ranges] = [Ranges() for _ in plan.tensors]
        self.note: str | None = None
        self.finishing = False
        """Every row is done and an earlier run had begun to rename."""
        self._fingerprint = hashlib.sha256(f"{__version__} {plan.fingerprint}".encode()).hexdigest()
        self._journal_path = self.parts[0].with_name(self.parts[0].name + ".journal")
        self._main: JournalFile | None = None
        self._share: JournalFile | None = None
        self._fresh = False
        self._descriptors: list[int | None] = [None] * len(self.parts)
        self._row_bytes = [t.size // t.rows if t.rows else 0 for t in plan.tensors]
        self.resumed = 0
        """Bytes of tensors that an earlier run had done."""

    def acquire(self, options: RunOptions, *, finish_only: bool = False) -> None:
        """Locks the output and decides what becomes of what an earlier run left, changing nothing yet.

        Raises OutputError when that is to refuse (see ``resume.decide``), or another process writes the output.
        """
        with os_errors("locked", self._journal_path):
            self._main = main = self._lock(options.part)
        shares = self._shares() if main.contents is not None else []
        state = resume.look(self.disk, self.parts, self.finals, self.manifest, main, shares)
        decision = resume.decide(self.plan, self._fingerprint, state, options, finish_only=finish_only)
        if isinstance(decision, resume.Refuse):
            raise decision.error
        if isinstance(decision, resume.Fresh):
            self._fresh, self.note = True, decision.note
            return
        self.finishing = isinstance(decision, resume.Finish)
        self.done = decision.done
        self.resumed = sum(rows.count * size for rows, size in zip(self.done, self._row_bytes, strict=True))

    def begin(self, options: RunOptions) -> None:
        """Lays out the part files: opens them, writes their headers, starts the journal."""
        assert self._main is not None
        with os_errors("written", self._journal_path):
            if self._fresh:
                # the old records go first: rows of a part file emptied after them must never pass for done
                self._main.restart(self._fingerprint)
            elif not self._main.shared:
                self._main.resume()
        self._open_parts(through=options.part is not None)
        if options.part is not None:
            with os_errors("locked", self._journal_path):
                self._main.share()
                self._open_share(options.part, options.resume)

    def write(self, tensor: int, row: int, data: Rows) -> None:
        """Writes encoded rows (uint8) of a tensor, the first of them being ``row``; safe from several threads."""
        t = self.plan.tensors[tensor]
        descriptor = self._descriptors[t.file]
        assert descriptor is not None
        with os_errors("written", self.parts[t.file], t.name):
            self.disk.write_all(descriptor, data, t.offset + row * self._row_bytes[tensor])

    def sync(self, batch: Mapping[int, Ranges]) -> None:
        """Waits until what is written is on disk, then records ``batch``: rows by tensor, written before the call."""
        names = {self.plan.tensors[t].file: self.plan.tensors[t].name for t in batch}
        for file, name in names.items():
            descriptor = self._descriptors[file]
            assert descriptor is not None
            with os_errors("synced to disk", self.parts[file], name):
                self.disk.fdatasync(descriptor)
        record = self._share or self._main
        assert record is not None
        with os_errors("written", record.path):
            record.append(journal.done_line(batch.items()))
        for tensor, rows in batch.items():
            for start, stop in rows:
                self.done[tensor].add(start, stop)

    def missing(self) -> list[str]:
        """Names of tensors with rows that no journal calls done."""
        return [t.name for t, done in zip(self.plan.tensors, self.done, strict=True) if done.missing(0, t.rows)]

    def complete(self, options: RunOptions, record: Mapping[str, object], sources: Sequence[StoredFile]) -> Path | None:
        """Makes the part files final and writes the manifest, whose path is returned when there is to be one.

        ``record``: the options a user gave; ``sources``: the files the output was made from.  A failure at any point
        leaves what the next run needs to end in the same state.
        """
        assert self._main is not None
        for path, descriptor, file in zip(self.parts, self._descriptors, self.plan.files, strict=True):
            if descriptor is not None:
                with os_errors("synced to disk", path):
                    self.disk.truncate(descriptor, file.size)
                    self.disk.fsync(descriptor)
        if not self.finishing:
            self._refuse_taken(options)
            manifest.remove_old(self.disk, self.manifest)
            with os_errors("written", self._journal_path):
                self._main.append(journal.finishing_line())
        for part, final, descriptor in zip(self.parts, self.finals, self._descriptors, strict=True):
            if descriptor is not None:
                with os_errors(f"renamed to {final.name}", part):
                    self.disk.rename(part, final)
        with os_errors("synced to disk", self.directory):
            self.disk.sync_directory(self.directory)
        if options.manifest:
            threads = options.threads or cores.usable()
            manifest.write(self.disk, self.manifest, manifest.make(self.plan, self.directory, record, sources, threads))
        with os_errors("removed", self._journal_path):
            for path in [*self._shares(), self._journal_path]:
                self.disk.unlink(path)
        return self.manifest if options.manifest else None

    def unallocated(self, number: int) -> int:
        """Bytes of file ``number`` that have no place on disk yet."""
        if self.finishing:
            return 0
        try:
            taken = platform.allocated_bytes(self.disk.stat(self.parts[number]))
        except FileNotFoundError:
            taken = 0
        return max(0, self.plan.files[number].size - taken)

    def close(self) -> None:
        """Closes what is open, which also unlocks.

        Nothing is lost when that fails: all that is recorded has been synced before.
        """
        descriptors, self._descriptors = self._descriptors, [None] * len(self.parts)
        for descriptor in descriptors:
            if descriptor is not None:
                with suppress(OSError):
                    self.disk.close(descriptor)
        for record in (self._share, self._main):
            if record is not None:
                with suppress(OSError):
                    record.close()
        self._share = self._main = None

    def _lock(self, part: Part | None) -> JournalFile:
        try:
            return JournalFile(self.disk, self._journal_path)
        except OutputError:
            if part is None:
                raise
            return JournalFile(self.disk, self._journal_path, shared=True)

    def _refuse_taken(self, options: RunOptions) -> None:
        """Somebody may have put something in the way since ``acquire`` looked."""
        paths = [*self.finals, *([self.manifest] if options.manifest else [])]
        taken = resume.taken_error([resume.look_up(self.disk, path) for path in paths], force=options.force)
        if taken is not None:
            raise taken

    def _shares(self) -> list[Path]:
        """Journals of parts, ``NAME.gguf.part.journal.3of16``."""
        with os_errors("read", self._journal_path):
            return self.disk.beginning_with(self._journal_path)

    def _open_parts(self, through: bool) -> None:
        """``through``: writes reach the disk before they return.

        Network file systems then write exactly the bytes they are given: two machines may share a page of the file.
        """
        flags = platform.WRITE_FLAGS | os.O_CREAT | (platform.WRITE_THROUGH if through else 0)
        for number, (path, file) in enumerate(zip(self.parts, self.plan.files, strict=True)):
            with os_errors("written", path):
                if self.finishing and self.disk.kind(path) == "nothing":
                    continue  # renamed already
                self._descriptors[number] = descriptor = self.disk.open(path, flags)
                if self._fresh:
                    self.disk.truncate(descriptor, 0)
                self.disk.write_all(descriptor, file.header, 0)

    def _open_share(self, part: Part, resume: bool) -> None:
        assert self._main is not None
        assert self._main.contents is not None
        path = self._journal_path.with_name(f"{self._journal_path.name}.{part.number}of{part.count}")
        self._share = share = JournalFile(self.disk, path)
        if resume and share.contents is not None and share.contents.id == self._main.contents.id:
            share.resume()
        else:
            share.restart(self._fingerprint, self._main.contents.id)
