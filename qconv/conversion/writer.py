"""Runs plans into files: opens their outputs, sends row blocks there, makes the files final."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qconv import pipeline
from qconv.conversion import disk_space
from qconv.conversion.disk import Disk
from qconv.conversion.journal_writer import JournalWriter
from qconv.conversion.os_errors import KEPT
from qconv.conversion.part_files import PartFiles
from qconv.errors import InputError, Interrupted, OutputError, UsageError
from qconv.options import RunOptions
from qconv.pipeline import Block, Cancellation, Encoding, Progress, Silent, TensorWork
from qconv.plan import Plan
from qconv.storage import StoredFile
from qconv.types import Rows


@dataclass(frozen=True, slots=True)
class Result:
    """One plan made into files (``.part`` ones when ``complete`` is False: other parts are still to do).

    ``resumed``: bytes of output that an earlier run had made.  ``warnings``: what was found out about the weights.
    """

    files: tuple[Path, ...]
    complete: bool
    resumed: int
    manifest: Path | None = None
    warnings: tuple[str, ...] = ()


def run(
    plans: Sequence[Plan],
    sources: Sequence[StoredFile],
    directories: Sequence[Path],
    options: RunOptions | None = None,
    progress: Progress | None = None,
    *,
    record: Mapping[str, object] | None = None,
    disk: Disk | None = None,
) -> list[Result]:
    """Makes the files of ``plans``, all of one source, each in its directory under the names in ``Plan.files``.

    Every row block is read once, and encoded once for all plans that want the same bytes of it; the files are those
    of separate runs.  ``sources``: the files the plans were made from.  What an earlier run of the same plans left is
    resumed.  With ``options.part`` only that share is done, and ``finish`` makes the files final.  ``record``: the
    options a manifest is to name.

    Raises OutputError (exists, locked, disk full or failing), InputError (source unreadable or changed), WeightError
    (NaN or infinity), UsageError (too little memory), Interrupted on Ctrl-C.  After any of them the final names hold
    what they held before or complete files, and what is done is kept.
    """
    options = options or RunOptions()
    progress = progress or Silent()
    check_unchanged(plans, sources)
    with _opened(plans, directories, options, disk or Disk()) as job:
        for output in job.outputs:
            if output.note is not None:
                progress.note(output.note)
        job.write(options, progress)
        check_unchanged(plans, sources)
        return job.end(options, record or {}, sources)


def finish(
    plans: Sequence[Plan],
    sources: Sequence[StoredFile],
    directories: Sequence[Path],
    options: RunOptions | None = None,
    *,
    record: Mapping[str, object] | None = None,
    disk: Disk | None = None,
) -> list[Result]:
    """Makes final what runs with ``options.part`` have done.

    Raises OutputError when they have not done everything, or what is there is not of ``plans``: all of it then stays as
    it is.  Raises UsageError without ``options.resume``.
    """
    options = options or RunOptions()
    if not options.resume:
        raise UsageError("--finish and --no-resume do not go together", hint="--finish takes what the parts have done")
    check_unchanged(plans, sources)
    with _opened(plans, directories, options, disk or Disk(), finish_only=True) as job:
        return job.end(options, record or {}, sources)


def check_unchanged(plans: Sequence[Plan], sources: Sequence[StoredFile]) -> None:
    """Raises InputError when a source file is gone, or is another than when the plans were made."""
    now = {file.identity() for file in sources}
    for planned in dict.fromkeys(identity for plan in plans for identity in plan.sources):
        if planned not in now:
            hint = "run the same command again"
            raise InputError("has changed since the conversion began", file=planned.location, hint=hint)


class _Job:
    """The outputs of one run."""

    def __init__(self, outputs: Sequence[PartFiles], plans: Sequence[Plan]) -> None:
        self.outputs = outputs
        self._plans = plans
        self._cancellation = Cancellation()
        self._warnings: tuple[str, ...] = ()

    def write(self, options: RunOptions, progress: Progress) -> None:
        """Sends all rows that are missing to the outputs."""
        part = (1, 1) if options.part is None else (options.part.number, options.part.count)
        shares = pipeline.share(pipeline.works_of(self._plans), *part)
        segments = list(pipeline.segments(shares, [output.done for output in self.outputs]))
        sizes = [(stop - start) * work.source_row for work, start, stop in shares if start < stop]
        journals = JournalWriter(self.outputs, self._cancellation)
        try:
            journals.start()
            self._warnings = pipeline.run(
                segments,
                _Files(self.outputs, journals),
                threads=options.threads,
                memory_limit=options.memory,
                progress=progress,
                whole=(sum(sizes), len(sizes)),
                cancellation=self._cancellation,
            )
            journals.close(record=True)
        except KeyboardInterrupt as e:
            self._cancellation.because(e)
            if not journals.close(record=False, patience=0.1):
                self._cancellation.abandoned = True
            raise
        except BaseException as e:
            self._cancellation.because(e)
            with suppress(OutputError):
                journals.close(record=True)
            raise
        if self._cancellation.error is not None:
            raise self._cancellation.error

    def end(self, options: RunOptions, record: Mapping[str, object], sources: Sequence[StoredFile]) -> list[Result]:
        """Makes outputs final once all of them are done; nothing yet when this was one part of them."""
        if options.part is not None:
            return [Result(o.parts, False, o.resumed, warnings=self._warnings) for o in self.outputs]
        for output in self.outputs:
            _check_done(output)
        return [
            Result(o.finals, True, o.resumed, o.complete(options, record, sources), self._warnings)
            for o in self.outputs
        ]

    def close(self) -> None:
        """Closes the outputs, unless a thread hangs and may still use their files."""
        if not self._cancellation.abandoned:
            for output in self.outputs:
                output.close()


class _Files:
    """The sink that writes."""

    def __init__(self, outputs: Sequence[PartFiles], journals: JournalWriter) -> None:
        self._outputs = outputs
        self._journals = journals

    def take(self, block: Block, encoding: Encoding, rows: Rows, encoded: NDArray[np.uint8]) -> None:
        for output, tensor in encoding.targets:
            self._outputs[output].write(tensor, block.start, encoded)
            self._journals.wrote((output, tensor), block.start, block.stop, encoded.nbytes)

    def memory(self, work: TensorWork, rows: int) -> int:
        return 0


@contextmanager
def _opened(
    plans: Sequence[Plan], directories: Sequence[Path], options: RunOptions, disk: Disk, *, finish_only: bool = False
) -> Iterator[_Job]:
    job = _Job([PartFiles(plan, place, disk) for plan, place in zip(plans, directories, strict=True)], plans)
    _check_names(job.outputs)
    try:
        for output in job.outputs:
            output.acquire(options, finish_only=finish_only)
        disk_space.check(job.outputs)
        for output in job.outputs:
            output.begin(options)
        yield job
    except KeyboardInterrupt:
        raise Interrupted("stopped", hint=KEPT) from None
    finally:
        job.close()


def _check_names(outputs: Sequence[PartFiles]) -> None:
    """No two outputs may have one name, and none may replace what it is made from."""
    taken: set[Path] = set()
    for output in outputs:
        sources = {Path(source.location).resolve() for source in output.plan.sources}
        for final in output.finals:
            path = final.resolve()
            if path in taken:
                raise UsageError("two outputs have this name", file=final)
            if path in sources:
                raise UsageError("is a source of this conversion", file=final, hint="give the output another name")
            taken.add(path)


def _check_done(output: PartFiles) -> None:
    missing = output.missing()
    if missing:
        more = f" and {len(missing) - 1} more tensors are" if len(missing) > 1 else " is"
        hint = "do every part first, each to its end"
        raise OutputError(f"'{missing[0]}'{more} not done", file=output.parts[0], hint=hint)
