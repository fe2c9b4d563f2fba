"""What a ``convert`` command does: one source after the other is planned, shown, converted and reported."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qconv import checkpoints, conversion, plan
from qconv.cli import overwrite, plan_table, saved_choice, screen
from qconv.cli.errors import ErrorOutput, each
from qconv.cli.progress import Style, progress
from qconv.cli.saved_choice import SavedChoice
from qconv.conversion import Result
from qconv.options import ConvertOptions, RunOptions, to_manifest
from qconv.plan import Plan

if TYPE_CHECKING:
    from qconv.allocation import Allocator
from qconv.storage import shown as shown_address


@dataclass(frozen=True, slots=True)
class ConvertJob:
    """What the command line asks for."""

    options: ConvertOptions
    run: RunOptions
    dry_run: bool
    finish: bool
    skip_existing: bool
    progress: Style
    quiet: bool
    errors: ErrorOutput
    saved: SavedChoice


def run_job(sources: Sequence[str], job: ConvertJob) -> int:
    """Converts every source; returns the exit code."""
    taken: dict[Path, str] = {}
    return each(sources, partial(_convert, job=job, taken=taken), job.errors)


def _convert(given: str, job: ConvertJob, taken: dict[Path, str]) -> None:
    """Converts one source; ``taken``: which source each output of this command is made from."""
    source = shown_address(given)
    keep = job.run.keep_download and not job.dry_run
    with plan.open_source(given, job.options, keep_download=keep) as checkpoint:
        reads = not job.dry_run and not job.finish and job.run.part is None
        if reads and not job.skip_existing:
            checkpoints.prefetch(checkpoint.files)
        plans, allocator = _planned(checkpoint, job)
        if allocator is not None:
            saved_choice.save(allocator, plans, job.saved)
        if job.dry_run:
            _show(plans, allocator, job)
            return
        directories = [plan.directory(checkpoint, job.options)] * len(plans)
        overwrite.take(source, plans, directories[0], taken)
        todo = [p for p, d in zip(plans, directories, strict=True) if not _is_there(source, p, d, job)]
        if not job.quiet:
            _tell(line for made in todo for line in plan_table.summary_lines(made))
        if not todo:
            return
        if reads and job.skip_existing:
            checkpoints.prefetch(checkpoint.files)
        began = time.monotonic()
        with closing(progress(job.progress, job.quiet, todo[0].files[0].name)) as shown:
            where = directories[: len(todo)]
            record, files = to_manifest(job.options), checkpoint.files
            if job.finish:
                results = conversion.finish(todo, files, where, job.run, record=record)
            else:
                results = conversion.run(todo, files, where, job.run, shown, record=record)
        for made, result in zip(todo, results, strict=True):
            _report(source, made, result, time.monotonic() - began, job)


def _planned(checkpoint: checkpoints.Checkpoint, job: ConvertJob) -> tuple[Sequence[Plan], Allocator | None]:
    """A plan for every output, and what chose for sizes, which is imported for these alone."""
    if not job.options.sizes:
        return plan.make(checkpoint, job.options), None
    from qconv import allocation

    return allocation.make(
        checkpoint, job.options, job.run, lambda: closing(progress(job.progress, job.quiet, "rounding errors"))
    )


def _tell(lines: Iterable[str]) -> None:
    """Notes, each once: several files are warned of alike."""
    for line in dict.fromkeys(lines):
        screen.note(line)


def _show(plans: Sequence[Plan], allocator: Allocator | None, job: ConvertJob) -> None:
    """A dry run: what would be made."""
    for number, made in enumerate(plans):
        if job.errors.as_json:
            screen.result(json.dumps(plan_table.plan_object(made)))
            continue
        if number:
            screen.lines("")
        plan_table.show_plan(made)
    if not job.errors.as_json:
        _tell(line for made in plans for line in plan_table.summary_lines(made)[1:])
    sized = [made for made in plans if made.sized is not None]
    if allocator is not None and len(sized) > 1 and not job.errors.as_json:
        screen.lines("")
        plan_table.show_curve(sized, allocator.points())


def _is_there(source: str, made: Plan, directory: Path, job: ConvertJob) -> bool:
    """Whether ``--skip-existing`` leaves an output as it is; its path is printed all the same."""
    if not job.skip_existing or not overwrite.is_made(made, directory):
        return False
    files = [str(directory / file.name) for file in made.files]
    if not job.quiet:
        screen.note(f"{made.files[0].name} is there already")
    if job.errors.as_json:
        about = {"file": files[0], "files": files, "source": source, "part": made.part, "type": made.mix}
        screen.result(json.dumps({**about, "skipped": True, "bytes": made.size}))
    else:
        for file in files:
            screen.result(file)
    return True


def _report(source: str, made: Plan, result: Result, seconds: float, job: ConvertJob) -> None:
    """The line or the object for an output that is done."""
    if job.errors.as_json:
        screen.result(json.dumps(_object(source, made, result, seconds)))
    elif result.complete:
        for file in result.files:
            screen.result(str(file))
    elif not job.quiet:
        screen.note(f"this part of {made.files[0].name} is done; --finish gives the file its name when all are")


def _object(source: str, made: Plan, result: Result, seconds: float) -> dict[str, Any]:
    return {
        "file": str(result.files[0]),
        "files": [str(file) for file in result.files],
        "source": source,
        "part": made.part,
        "type": made.mix,
        "complete": result.complete,
        "skipped": False,
        "bytes": made.size,
        "weights": made.weights,
        "bits_per_weight": made.bits_per_weight,
        "fallbacks": [
            {"tensor": t.name, "wanted": t.wanted, "type": t.block_type, "weights": t.weights} for t in made.fallbacks
        ],
        "warnings": [*made.warnings, *result.warnings],
        "resumed_bytes": result.resumed,
        "seconds": round(seconds, 3),
        "manifest": None if result.manifest is None else str(result.manifest),
    }
