"""One plan's output on its way: part files, journals, the lock, and the renaming at the end.

``NAME.gguf`` is written as ``NAME.gguf.part`` beside ``NAME.gguf.part.journal``; a split output has one journal, named
after its first file.  The journal is also the lock: whoever converts a whole plan holds it alone, whoever carries out
``--part 3/16`` shares it and keeps what it has done in ``NAME.gguf.part.journal.3of16``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from qconv import __version__, cores
from qconv.convert import journal, left, manifest
from qconv.convert.disk import Disk
from qconv.convert.failing import failing
from qconv.convert.journal import Journal
from qconv.convert.journal_file import JournalFile
from qconv.convert.options import Options, Part
from qconv.convert.ranges import Ranges
from qconv.errors import OutputError
from qconv.plan import Plan
from qconv.types import Rows


class Output:
    """Call ``acquire``, ``begin``, ``write`` and ``sync`` as rows are done, then ``complete``; always ``close``."""

    def __init__(self, plan: Plan, directory: Path, disk: Disk) -> None:
        self.plan = plan
        self.disk = disk
        self.directory = directory
        self.finals = tuple(directory / f.name for f in plan.files)
        self.parts = tuple(p.with_name(p.name + ".part") for p in self.finals)
        self.manifest = manifest.path_of(self.finals[0])
        self.done = [Ranges() for _ in plan.tensors]
        self.resumed = 0
        """Bytes of tensors that an earlier run had done."""
        self.note: str | None = None
        self.finishing = False
        """Every row is done and an earlier run had begun to rename."""
        self._fingerprint = hashlib.sha256(f"{__version__} {plan.fingerprint}".encode()).hexdigest()
        self._journal_path = self.parts[0].with_name(self.parts[0].name + ".journal")
        self._main: JournalFile | None = None
        self._share: JournalFile | None = None
        self._data: list[int | None] = [None] * len(self.parts)
        self._row_bytes = [t.size // t.rows if t.rows else 0 for t in plan.tensors]

    def acquire(self, options: Options, *, begun: bool = False) -> None:
        """Locks the output and finds out what an earlier run left, changing nothing yet.

        Raises OutputError when the output exists (and ``options.force`` is not set), another process writes it, a part
        would discard what those of another plan have done (and ``options.resume`` is set), or, with ``begun``, this
        plan was not begun.
        """
        with failing("locked", self._journal_path):
            self._main = main = self._lock(options.part)
        found = main.found
        with failing("read", self._journal_path):
            keep = (
                found is not None
                and (options.resume or options.part is not None)
                and found.fingerprint == self._fingerprint
                and left.usable(self.disk, self.plan, found, self._shares(), self.parts, self.finals)
            )
            self.finishing = keep and found is not None and found.finishing
            if not self.finishing:
                self._refuse_existing(options)
            if keep and found is not None:
                self.done = left.recorded(self.disk, self.plan, found, self._shares())
                self.resumed = sum(rows.count * size for rows, size in zip(self.done, self._row_bytes, strict=True))
        if not keep:
            if main.shared:
                raise OutputError("another process is writing this output with other options", file=self.finals[0])
            if begun:
                raise self._nothing_to_finish(found)
            if main.empty and options.resume and not options.force:
                self._refuse_other_files()
            if found is not None:
                with failing("read", self._journal_path):
                    if options.part is not None and options.resume and found.fingerprint != self._fingerprint:
                        self._refuse_other_parts(found)
                why = "" if found.fingerprint == self._fingerprint else ", of other options or another source,"
                self.note = f"the unfinished {self.parts[0].name}{why} is discarded"
            main.found = None

    def begin(self, options: Options) -> None:
        """Lays out the part files: opens them, writes their headers, starts the journal."""
        assert self._main is not None
        fresh = self._main.found is None
        with failing("written", self._journal_path):
            if fresh:
                # the old records go first: rows of a part file emptied after them must never pass for done
                self._main.restart(self._fingerprint)
            elif not self._main.shared:
                self._main.resume()
        self._open_parts(fresh, through=options.part is not None)
        if options.part is not None:
            with failing("locked", self._journal_path):
                self._main.share()
                self._open_share(options.part, options.resume)

    def write(self, tensor: int, row: int, data: Rows) -> None:
        """Writes encoded rows (uint8) of a tensor, the first of them being ``row``; safe from several threads."""
        t = self.plan.tensors[tensor]
        fd = self._data[t.file]
        assert fd is not None
        with failing("written", self.parts[t.file], t.name):
            self.disk.write_all(fd, data, t.offset + row * self._row_bytes[tensor])

    def sync(self, batch: Mapping[int, Ranges]) -> None:
        """Waits until what is written is on disk, then records ``batch``: rows by tensor, written before the call."""
        names = {self.plan.tensors[t].file: self.plan.tensors[t].name for t in batch}
        for file, name in names.items():
            fd = self._data[file]
            assert fd is not None
            with failing("synced to disk", self.parts[file], name):
                self.disk.fdatasync(fd)
        record = self._share or self._main
        assert record is not None
        with failing("written", record.path):
            record.append(journal.done_line(batch.items()))
        for tensor, rows in batch.items():
            for start, stop in rows:
                self.done[tensor].add(start, stop)

    def missing(self) -> list[str]:
        """Names of tensors with rows that no journal calls done."""
        return [t.name for t, done in zip(self.plan.tensors, self.done, strict=True) if done.missing(0, t.rows)]

    def complete(self, options: Options) -> Path | None:
        """Makes the part files final and writes the manifest, whose path is returned when there is to be one.

        A failure at any point leaves what the next run needs to end in the same state.
        """
        assert self._main is not None
        for path, fd, file in zip(self.parts, self._data, self.plan.files, strict=True):
            if fd is not None:
                with failing("synced to disk", path):
                    self.disk.truncate(fd, file.size)
                    self.disk.fsync(fd)
        if not self.finishing:
            self._refuse_existing(options)
            manifest.remove_old(self.disk, self.manifest)
            with failing("written", self._journal_path):
                self._main.append(journal.finishing_line())
        for part, final, fd in zip(self.parts, self.finals, self._data, strict=True):
            if fd is not None:
                with failing(f"renamed to {final.name}", part):
                    self.disk.rename(part, final)
        with failing("synced to disk", self.directory):
            self.disk.sync_directory(self.directory)
        if options.manifest:
            threads = options.threads or cores.usable()
            found = manifest.make(self.plan, self.directory, options.record, threads)
            manifest.write(self.disk, self.manifest, found)
        with failing("removed", self._journal_path):
            for path in [*self._shares(), self._journal_path]:
                self.disk.unlink(path)
        return self.manifest if options.manifest else None

    def close(self) -> None:
        """Closes what is open, which also unlocks.

        Nothing is lost when that fails: all that is recorded has been synced before.
        """
        data, self._data = self._data, [None] * len(self.parts)
        for fd in data:
            if fd is not None:
                with suppress(OSError):
                    self.disk.close(fd)
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

    def _refuse_existing(self, options: Options) -> None:
        for path in [*self.finals, *([self.manifest] if options.manifest else [])]:
            with failing("looked up", path):
                exists, replaceable = self.disk.exists(path), self.disk.replaceable(path)
            if not replaceable:
                raise OutputError("is no file", file=path, hint="give the output another name")
            if exists and not options.force:
                hint = "use --force to replace it, or --skip-existing to leave it"
                raise OutputError("exists already", file=path, hint=hint)

    def _refuse_other_files(self) -> None:
        """What has a part file's name while no journal says so was not begun here."""
        for path in self.parts:
            with failing("looked up", path):
                exists = self.disk.exists(path)
            if exists:
                hint = "move it away, or write over it with --no-resume"
                raise OutputError("is there, and no journal of qconv's beside it", file=path, hint=hint)

    def _refuse_other_parts(self, found: Journal) -> None:
        if left.has_parts(self.disk, found, self._shares()):
            raise OutputError(
                "holds finished parts of other options or another source",
                file=self.parts[0],
                hint="--no-resume discards them; --finish with the options they were given makes them final",
            )

    def _nothing_to_finish(self, found: Journal | None) -> OutputError:
        if found is None:
            what, hint = "no part of this conversion is here", "carry out every part first, each to its end"
        elif found.fingerprint != self._fingerprint:
            what = "is of other options, another source or another version of qconv"
            hint = "give --finish what the parts were given"
        else:
            what, hint = "has lost what its parts wrote", "carry the parts out again"
        return OutputError(what, file=self.parts[0], hint=hint)

    def _shares(self) -> list[Path]:
        """Journals of parts, ``NAME.gguf.part.journal.3of16``."""
        return self.disk.beginning_with(self._journal_path)

    def _open_parts(self, fresh: bool, through: bool) -> None:
        """``through``: writes reach the disk before they return.

        Network file systems then write exactly the bytes they are given: two machines may share a page of the file.
        """
        flags = os.O_RDWR | os.O_CREAT | (os.O_DSYNC if through else 0)
        for number, (path, file) in enumerate(zip(self.parts, self.plan.files, strict=True)):
            with failing("written", path):
                if self.finishing and not self.disk.exists(path):
                    continue  # renamed already
                self._data[number] = fd = self.disk.open(path, flags)
                if fresh:
                    self.disk.truncate(fd, 0)
                self.disk.write_all(fd, file.header, 0)

    def _open_share(self, part: Part, resume: bool) -> None:
        assert self._main is not None
        assert self._main.found is not None
        path = self._journal_path.with_name(f"{self._journal_path.name}.{part.number}of{part.count}")
        self._share = share = JournalFile(self.disk, path)
        if resume and share.found is not None and share.found.id == self._main.found.id:
            share.resume()
        else:
            share.restart(self._fingerprint, self._main.found.id)
