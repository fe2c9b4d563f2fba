"""Carries plans out: opens their outputs, sets workers to work, makes the files final."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from qconv.convert import crew, schedule, space
from qconv.convert.disk import Disk
from qconv.convert.failing import KEPT
from qconv.convert.options import Options, Progress, Result, Silent
from qconv.convert.output import Output
from qconv.convert.pool import Stop
from qconv.convert.schedule import Target
from qconv.convert.sources import check_unchanged
from qconv.convert.syncer import Syncer
from qconv.convert.tally import Tally
from qconv.errors import Interrupted, OutputError, UsageError
from qconv.plan import Plan
from qconv.types import Rows, TensorReader


def run(
    plans: Sequence[Plan],
    reader: TensorReader,
    directories: Sequence[Path],
    options: Options | None = None,
    progress: Progress | None = None,
    disk: Disk | None = None,
) -> list[Result]:
    """Carries out ``plans`` of one source together, each into its directory under the names in ``Plan.files``.

    Every row block is read once, and encoded once for all plans that want the same bytes of it; the files are those
    of separate runs.  What an earlier run of the same plans left is gone on with.  With ``options.part`` only that
    share is done, and ``finish`` makes the files final.

    Raises OutputError (exists, locked, disk full or failing), InputError (source unreadable or changed), WeightError
    (NaN or infinity), UsageError (too little memory), Interrupted on Ctrl-C.  After any of them the final names hold
    what they held before or complete files, and what is done is kept.
    """
    options = options or Options()
    progress = progress or Silent()
    check_unchanged(plans)
    with _opened(plans, directories, options, disk or Disk()) as job:
        for output in job.outputs:
            if output.note is not None:
                progress.note(output.note)
        job.convert(plans, reader, options, progress)
        check_unchanged(plans)
        return _end(job.outputs, options)


def finish(
    plans: Sequence[Plan], directories: Sequence[Path], options: Options | None = None, disk: Disk | None = None
) -> list[Result]:
    """Makes final what runs with ``options.part`` have done.

    Raises OutputError when they have not done everything, or what is there is not of ``plans``: all of it then stays as
    it is.  Raises UsageError without ``options.resume``.
    """
    options = options or Options()
    if not options.resume:
        raise UsageError("--finish and --no-resume do not go together", hint="--finish takes what the parts have done")
    check_unchanged(plans)
    with _opened(plans, directories, options, disk or Disk(), begun=True) as job:
        return _end(job.outputs, options)


class _Job:
    """The outputs of one run.  ``abandoned``: a thread hangs and may still use their files."""

    def __init__(self, outputs: Sequence[Output]) -> None:
        self.outputs = outputs
        self.abandoned = False

    def abandon(self) -> None:
        self.abandoned = True

    def close(self) -> None:
        for output in self.outputs:
            output.close()

    def convert(self, plans: Sequence[Plan], reader: TensorReader, options: Options, progress: Progress) -> None:
        work = schedule.share(schedule.tensors(plans), options.part)
        segments = list(schedule.segments(work, [output.done for output in self.outputs]))
        tally = Tally(work, segments, progress)
        if not segments:
            return
        stop = Stop()
        syncer = Syncer(self.outputs, stop)
        sink = _Files(self.outputs, syncer)
        try:
            syncer.start()
            crew.carry_out(segments, reader, sink, options, tally, stop, self.abandon)
            syncer.close(record=True)
        except KeyboardInterrupt as e:
            stop.because(e)
            if not syncer.close(record=False, patience=0.1):
                self.abandon()
            raise
        except BaseException as e:
            stop.because(e)
            with suppress(OutputError):
                syncer.close(record=True)
            raise
        if stop.error is not None:
            raise stop.error


class _Files:
    """The sink that writes."""

    def __init__(self, outputs: Sequence[Output], syncer: Syncer) -> None:
        self._outputs = outputs
        self._syncer = syncer

    def take(self, target: Target, start: int, stop: int, data: Rows) -> None:
        output, tensor = target
        self._outputs[output].write(tensor, start, data)
        self._syncer.wrote(target, start, stop, data.nbytes)


@contextmanager
def _opened(
    plans: Sequence[Plan], directories: Sequence[Path], options: Options, disk: Disk, *, begun: bool = False
) -> Iterator[_Job]:
    job = _Job([Output(plan, directory, disk) for plan, directory in zip(plans, directories, strict=True)])
    _check_names(job.outputs)
    try:
        for output in job.outputs:
            output.acquire(options, begun=begun)
        space.check(job.outputs)
        for output in job.outputs:
            output.begin(options)
        yield job
    except KeyboardInterrupt:
        raise Interrupted("stopped", hint=KEPT) from None
    finally:
        if not job.abandoned:
            job.close()


def _check_names(outputs: Sequence[Output]) -> None:
    """No two outputs may have one name, and none may replace what it is made from."""
    taken: set[Path] = set()
    for output in outputs:
        sources = {Path(path).resolve() for path, _, _ in output.plan.sources}
        for final in output.finals:
            path = final.resolve()
            if path in taken:
                raise UsageError("two outputs have this name", file=final)
            if path in sources:
                raise UsageError("is a source of this conversion", file=final, hint="give the output another name")
            taken.add(path)


def _end(outputs: Sequence[Output], options: Options) -> list[Result]:
    """Makes outputs final once all of them are done; nothing yet when this was one part of them."""
    if options.part is not None:
        return [Result(output.parts, False, output.resumed) for output in outputs]
    for output in outputs:
        _check_done(output)
    return [Result(o.finals, True, o.resumed, o.complete(options)) for o in outputs]


def _check_done(output: Output) -> None:
    missing = output.missing()
    if missing:
        more = f" and {len(missing) - 1} more tensors are" if len(missing) > 1 else " is"
        hint = "carry out every part first, each to its end"
        raise OutputError(f"'{missing[0]}'{more} not done", file=output.parts[0], hint=hint)
