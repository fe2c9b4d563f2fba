"""What an earlier run left, and what is to become of it: begin afresh, resume, finish, or refuse.

``look`` asks the file system, ``decide`` follows from its answers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qconv import platform
from qconv.conversion import journal
from qconv.conversion.disk import Disk, Kind
from qconv.conversion.journal import Journal
from qconv.conversion.os_errors import os_errors
from qconv.errors import OutputError
from qconv.options import RunOptions
from qconv.pipeline import Ranges
from qconv.plan import Plan


@dataclass(frozen=True, slots=True)
class Name:
    """What has a name now; ``size``: bytes of a regular file, None for anything else or nothing."""

    path: Path
    kind: Kind
    size: int | None


@dataclass(frozen=True, slots=True)
class State:
    """What is on disk.

    ``journal``: the main one's contents, None when there is nothing of use in it; ``empty``: it was made just now.
    ``shares``: journals of parts of the same making.  ``exclusive``: no other process works on this output.
    """

    parts: tuple[Name, ...]
    finals: tuple[Name, ...]
    manifest: Name
    journal: Journal | None
    empty: bool
    exclusive: bool
    shares: tuple[Journal, ...]


@dataclass(frozen=True, slots=True)
class Fresh:
    """Begin with empty part files.  ``note``: what is discarded for it."""

    note: str | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on: ``done`` are the rows of each tensor that are surely on disk."""

    done: tuple[Ranges, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """Every row is done, and an earlier run had begun to rename."""

    done: tuple[Ranges, ...]


@dataclass(frozen=True, slots=True)
class Refuse:
    """Leave everything as it is."""

    error: OutputError


def look(
    disk: Disk,
    parts: Sequence[Path],
    finals: Sequence[Path],
    manifest: Path,
    main: journal.JournalFile,
    share_paths: Sequence[Path],
) -> State:
    """The state of the files; raises OutputError when the system does not tell."""
    contents = main.contents
    with os_errors("read", main.path):
        # sizes come after the records, which other parts may be adding to
        shares = [journal.parse(disk.read(path, journal.LARGEST)) for path in share_paths]
    return State(
        parts=tuple(look_up(disk, path) for path in parts),
        finals=tuple(look_up(disk, path) for path in finals),
        manifest=look_up(disk, manifest),
        journal=contents,
        empty=main.empty,
        exclusive=not main.shared,
        shares=tuple(s for s in shares if s is not None and contents is not None and s.id == contents.id),
    )


def decide(
    plan: Plan, fingerprint: str, state: State, options: RunOptions, *, finish_only: bool = False
) -> Fresh | Resume | Finish | Refuse:
    """What to do about an output.  ``finish_only``: its parts must have done everything."""
    journal = state.journal
    same_plan = journal is not None and journal.fingerprint == fingerprint
    resumable = same_plan and (options.resume or options.part is not None) and _is_usable(plan, state)
    if journal is not None and resumable and journal.finishing:
        return Finish(_all_rows(plan))
    if taken := _taken(state, options):
        return Refuse(taken)
    if journal is not None and resumable:
        return Resume(_recorded(plan, journal, state.shares))
    first = state.parts[0].path
    if not state.exclusive:
        message = "another process is writing this output with other options"
        return Refuse(OutputError(message, file=state.finals[0].path))
    if finish_only:
        return Refuse(_nothing_to_finish(first, journal, same_plan))
    if state.empty and options.resume and not options.force:
        foreign = next((name.path for name in state.parts if name.kind != "nothing"), None)
        if foreign is not None:
            hint = "move it away, or write over it with --no-resume"
            return Refuse(OutputError("is there, and no journal of qconv's beside it", file=foreign, hint=hint))
    if journal is None:
        return Fresh()
    if options.part is not None and options.resume and not same_plan and any(s.done for s in state.shares):
        hint = "--no-resume discards them; --finish with the options they were given makes them final"
        message = "holds finished parts of other options or another source"
        return Refuse(OutputError(message, file=first, hint=hint))
    why = "" if same_plan else ", of other options or another source,"
    return Fresh(f"the unfinished {first.name}{why} is discarded")


def taken_error(names: Sequence[Name], *, force: bool) -> OutputError | None:
    """Why an output may not have one of these names; None when it may."""
    for name in names:
        if name.kind == "other":
            return OutputError("is not a regular file", file=name.path, hint="give the output another name")
        if name.kind != "nothing" and not force:
            hint = "use --force to replace it, or --skip-existing to leave it"
            return OutputError("exists already", file=name.path, hint=hint)
    return None


def _taken(state: State, options: RunOptions) -> OutputError | None:
    return taken_error([*state.finals, *([state.manifest] if options.manifest else [])], force=options.force)


def _is_usable(plan: Plan, state: State) -> bool:
    """Whether the files are as long as the records of the journal, and of the shares', need them to be.

    While files are being renamed each is there whole, under one name or the other.
    """
    assert state.journal is not None
    if state.journal.finishing:
        return all(
            part.size == file.size or (part.size is None and final.size == file.size)
            for part, file, final in zip(state.parts, plan.files, state.finals, strict=True)
        )
    own = _needed(plan, state.journal)
    if own is None:
        return False
    needed = [own, *(sizes for share in state.shares if (sizes := _needed(plan, share)) is not None)]
    return all((part.size or 0) >= max(least) for part, *least in zip(state.parts, *needed, strict=True))


def _recorded(plan: Plan, main: Journal, shares: Sequence[Journal]) -> tuple[Ranges, ...]:
    """The rows done of each tensor, by the journal itself and by those of shares of the same making."""
    done = tuple(Ranges() for _ in plan.tensors)
    for each in [main, *(s for s in shares if _needed(plan, s) is not None)]:
        for tensor, rows in each.done.items():
            for start, stop in rows:
                done[tensor].add(start, stop)
    return done


def _all_rows(plan: Plan) -> tuple[Ranges, ...]:
    done = tuple(Ranges() for _ in plan.tensors)
    for ranges, planned in zip(done, plan.tensors, strict=True):
        ranges.add(0, planned.rows)
    return done


def _needed(plan: Plan, journal: Journal) -> list[int] | None:
    """Least sizes of the part files that hold the recorded rows; None when the plan has no such rows."""
    sizes = [0] * len(plan.files)
    for number, rows in journal.done.items():
        if number >= len(plan.tensors):
            return None
        planned = plan.tensors[number]
        last = max((stop for _, stop in rows), default=0)
        if last > planned.rows:
            return None
        if last:
            end = planned.offset + planned.size // planned.rows * last
            sizes[planned.file] = max(sizes[planned.file], end)
    return sizes


def _nothing_to_finish(part: Path, journal: Journal | None, same_plan: bool) -> OutputError:
    if journal is None:
        what, hint = "no part of this conversion is here", "do every part first, each to its end"
    elif not same_plan:
        what = "is of other options, another source or another version of qconv"
        hint = "give --finish what the parts were given"
    else:
        what, hint = "has lost what its parts wrote", "do the parts again"
    return OutputError(what, file=part, hint=hint)


def look_up(disk: Disk, path: Path) -> Name:
    """What has a name now; raises OutputError when the system does not tell."""
    with os_errors("looked up", path):
        kind = disk.kind(path)
        return Name(path, kind, _size(disk, path) if kind == "file" else None)


def _size(disk: Disk, path: Path) -> int | None:
    """Asked of the opened file: by its name a network file system may tell a size of a while ago."""
    try:
        descriptor = disk.open(path, platform.READ_FLAGS)
    except FileNotFoundError:
        return None
    try:
        return disk.fstat(descriptor).st_size
    finally:
        disk.close(descriptor)
