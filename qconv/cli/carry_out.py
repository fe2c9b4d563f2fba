"""Carries out a ``convert`` command: one source after the other, each planned, shown, converted and reported."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from qconv import checkpoints, plan
from qconv.cli import existing, plan_screen, screen
from qconv.cli.outcome import Manner, each
from qconv.cli.progress import Style, progress
from qconv.convert import Options, Result, finish, run
from qconv.plan import Plan, Request


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for."""

    request: Request
    options: Options
    dry_run: bool
    finish: bool
    skip_existing: bool
    progress: Style
    quiet: bool
    manner: Manner


def carry_out(sources: Sequence[Path], wish: Wish) -> int:
    """Converts every source; returns the exit code."""
    taken: dict[Path, Path] = {}
    return each(sources, partial(_convert, wish=wish, taken=taken), wish.manner)


def _convert(source: Path, wish: Wish, taken: dict[Path, Path]) -> None:
    """Converts one source; ``taken``: which source each output of this command is made from."""
    with checkpoints.open(source) as checkpoint:
        reads = not wish.dry_run and not wish.finish and wish.options.part is None
        if reads and not wish.skip_existing:
            checkpoints.bring_near(checkpoint.files)
        plans = plan.make(checkpoint, wish.request)
        if wish.dry_run:
            _show(plans, wish)
            return
        directories = [plan.directory(checkpoint, wish.request)] * len(plans)
        existing.take(source, plans, directories[0], taken)
        todo = [p for p, d in zip(plans, directories, strict=True) if not _is_there(source, p, d, wish)]
        if not wish.quiet:
            for made in todo:
                for line in plan_screen.summary_lines(made):
                    screen.note(line)
        if not todo:
            return
        if reads and wish.skip_existing:
            checkpoints.bring_near(checkpoint.files)
        began = time.monotonic()
        with closing(progress(wish.progress, wish.quiet, todo[0].files[0].name)) as shown:
            where = directories[: len(todo)]
            if wish.finish:
                results = finish(todo, where, wish.options)
            else:
                results = run(todo, checkpoint, where, wish.options, shown)
        for made, result in zip(todo, results, strict=True):
            _report(source, made, result, time.monotonic() - began, wish)


def _show(plans: Sequence[Plan], wish: Wish) -> None:
    """A dry run: what would be made."""
    for number, made in enumerate(plans):
        if wish.manner.as_json:
            screen.result(json.dumps(plan_screen.plan_object(made)))
            continue
        if number:
            screen.lines("")
        plan_screen.show_plan(made)
        for line in plan_screen.summary_lines(made)[1:]:
            screen.note(line)


def _is_there(source: Path, made: Plan, directory: Path, wish: Wish) -> bool:
    """Whether ``--skip-existing`` leaves an output as it is; its path is printed all the same."""
    if not wish.skip_existing or not existing.is_made(made, directory):
        return False
    files = [str(directory / file.name) for file in made.files]
    if not wish.quiet:
        screen.note(f"{made.files[0].name} is there already")
    if wish.manner.as_json:
        found = {"file": files[0], "files": files, "source": str(source), "type": made.mix}
        screen.result(json.dumps({**found, "skipped": True, "bytes": made.size}))
    else:
        for file in files:
            screen.result(file)
    return True


def _report(source: Path, made: Plan, result: Result, seconds: float, wish: Wish) -> None:
    """The line or the object for an output that is done."""
    if wish.manner.as_json:
        screen.result(json.dumps(_object(source, made, result, seconds)))
    elif result.complete:
        for file in result.files:
            screen.result(str(file))
    elif not wish.quiet:
        screen.note(f"this part of {made.files[0].name} is done; --finish gives the file its name when all are")


def _object(source: Path, made: Plan, result: Result, seconds: float) -> dict[str, Any]:
    return {
        "file": str(result.files[0]),
        "files": [str(file) for file in result.files],
        "source": str(source),
        "type": made.mix,
        "complete": result.complete,
        "skipped": False,
        "bytes": made.size,
        "weights": made.weights,
        "bits_per_weight": made.bits_per_weight,
        "fallbacks": [
            {"tensor": t.name, "wanted": t.wanted, "type": t.block_type, "weights": t.weights} for t in made.fallbacks
        ],
        "warnings": list(made.warnings),
        "resumed_bytes": result.resumed,
        "seconds": round(seconds, 3),
        "manifest": None if result.manifest is None else str(result.manifest),
    }
