"""What is fetched of files over a line at a time: windows, cut from the ranges that are going to be read, in order."""

from __future__ import annotations

import mmap
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from qconv.storage.base import ByteRange, StoredFile

WINDOWS = 6
"""Windows that memory is divided into: those on their way, and those that are being read."""


@dataclass(slots=True, eq=False)
class Window:
    """Bytes ``[start, stop)`` of a file.

    ``data``: None until it is on its way.  ``done``: bytes that are there.  ``users``: reads that hold on to it.
    ``told``: bytes of it that are going to be read, some perhaps more than once; ``read``: that have been.
    """

    file: StoredFile
    start: int
    stop: int
    data: mmap.mmap | None = None
    done: int = 0
    error: BaseException | None = None
    users: int = 0
    told: int = 0
    read: int = 0
    used: list[tuple[int, int]] = field(default_factory=list)

    @property
    def size(self) -> int:
        return self.stop - self.start

    @property
    def on_its_way(self) -> bool:
        return self.data is not None and self.done < self.size and self.error is None

    @property
    def used_up(self) -> bool:
        return self.read >= self.told and self.used == [(self.start, self.stop)]

    def use(self, start: int, stop: int) -> None:
        """Notes that ``[start, stop)`` was read."""
        self.read += stop - start
        joined = [(a, b) for a, b in self.used if b < start or a > stop]
        touching = [(start, stop), *((a, b) for a, b in self.used if b >= start and a <= stop)]
        self.used = sorted([*joined, (min(a for a, _ in touching), max(b for _, b in touching))])


@dataclass(slots=True)
class _Run:
    """Bytes wanted of one file without a gap; ``start`` to ``stop`` is not yet in a window.

    ``told``: what is wanted of that, by its place.  ``windows``: the last that were cut off, which may be told again.
    """

    file: StoredFile
    begin: int
    start: int
    stop: int
    told: list[tuple[int, int]] = field(default_factory=list)
    windows: deque[Window] = field(default_factory=lambda: deque(maxlen=WINDOWS))

    def tell(self, start: int, stop: int) -> None:
        """Adds ``[start, stop)``, which begins in the run or where it ends."""
        for window in self.windows:
            window.told += max(0, min(stop, window.stop) - max(start, window.start))
        if stop > self.start:
            self.told.append((max(start, self.start), stop))
        self.stop = max(self.stop, stop)

    def cut(self, size: int, least: int) -> Iterator[Window]:
        """Windows from the run's beginning, while at least ``least`` bytes of it are left."""
        while self.stop - self.start >= least:
            stop = min(self.stop, self.start + size)
            window = Window(self.file, self.start, stop)
            window.told = sum(max(0, min(b, stop) - a) for a, b in self.told)
            self.told = [(max(a, stop), b) for a, b in self.told if b > stop]
            self.start = stop
            self.windows.append(window)
            yield window


def windows(ranges: Iterable[ByteRange], size: int) -> Iterator[Window]:
    """Windows of at most ``size`` bytes with all of ``ranges``, about in their order.

    Ranges that follow each other in a file are joined, also where those of several tensors alternate, such as weights
    and their scales: about a window's bytes are collected before they are handed out.  What is told again soon is not
    fetched again.
    """
    runs: list[_Run] = []
    for r in ranges:
        if not r.size:
            continue
        run = next((each for each in runs if each.file is r.file and each.begin <= r.offset <= each.stop), None)
        if run is None:
            run = _Run(r.file, r.offset, r.offset, r.offset)
            runs.append(run)
        run.tell(r.offset, r.offset + r.size)
        if sum(each.stop - each.start for each in runs) >= size:
            for each in runs:
                if each is not run:
                    yield from each.cut(size, 1)
            # what follows may go on from here, and then belongs into the same window
            yield from run.cut(size, size if run.stop - run.start >= size else 1)
            runs = [run]
    for each in runs:
        yield from each.cut(size, 1)
