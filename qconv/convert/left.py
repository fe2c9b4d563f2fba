"""What an earlier run left: whether its part files can be gone on with, and which rows in them are done."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from qconv.convert import journal
from qconv.convert.disk import Disk
from qconv.convert.journal import Journal
from qconv.convert.ranges import Ranges
from qconv.plan import Plan


def usable(
    disk: Disk, plan: Plan, found: Journal, shares: Iterable[Path], parts: Sequence[Path], finals: Sequence[Path]
) -> bool:
    """Whether the files are as long as the records of the journal, and of the shares', need them to be.

    While files are being renamed each is there whole, under one name or the other.
    """
    if found.finishing:
        sizes = [_size(disk, part) for part in parts]
        return all(
            size == file.size or (size is None and _size(disk, final) == file.size)
            for size, file, final in zip(sizes, plan.files, finals, strict=True)
        )
    own = _needed(plan, found)
    if own is None:
        return False
    needed = [own, *(n for share in _of_shares(disk, found, shares) if (n := _needed(plan, share)) is not None)]
    # sizes come after the records, which other parts may be adding to
    return all((_size(disk, part) or 0) >= max(least) for part, *least in zip(parts, *needed, strict=True))


def has_parts(disk: Disk, found: Journal, shares: Iterable[Path]) -> bool:
    """Whether shares of the same making have recorded rows."""
    return any(share.done for share in _of_shares(disk, found, shares))


def recorded(disk: Disk, plan: Plan, found: Journal, shares: Iterable[Path]) -> list[Ranges]:
    """The rows done of each tensor, by the journal itself and by those of shares of the same making.

    While files are being renamed that is all of them; some journals of shares may be gone by then.
    """
    done = [Ranges() for _ in plan.tensors]
    if found.finishing:
        for ranges, tensor_plan in zip(done, plan.tensors, strict=True):
            ranges.add(0, tensor_plan.rows)
        return done
    for each in [found, *(s for s in _of_shares(disk, found, shares) if _needed(plan, s) is not None)]:
        for tensor, rows in each.done.items():
            for start, stop in rows:
                done[tensor].add(start, stop)
    return done


def _of_shares(disk: Disk, found: Journal, shares: Iterable[Path]) -> Iterator[Journal]:
    """What shares of the same making have recorded."""
    for path in shares:
        share = journal.parse(disk.read(path, journal.LARGEST))
        if share is not None and share.id == found.id:
            yield share


def _needed(plan: Plan, found: Journal) -> list[int] | None:
    """Least sizes of the part files that hold the recorded rows; None when the plan has no such rows."""
    sizes = [0] * len(plan.files)
    for number, rows in found.done.items():
        if number >= len(plan.tensors):
            return None
        tensor = plan.tensors[number]
        last = max((stop for _, stop in rows), default=0)
        if last > tensor.rows:
            return None
        if last:
            end = tensor.offset + tensor.size // tensor.rows * last
            sizes[tensor.file] = max(sizes[tensor.file], end)
    return sizes


def _size(disk: Disk, path: Path) -> int | None:
    """Asked of the opened file: by its name a network file system may tell a size of a while ago."""
    try:
        fd = disk.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return disk.fstat(fd).st_size
    finally:
        disk.close(fd)
