"""Reading ahead over a line: bytes that will be wanted are fetched before, in windows, several at once.

A disk answers at once and the system reads ahead by itself.  Over a line each request costs a round trip, so what a run
is going to read is told beforehand, in order: neighbours are fetched together, and a few windows at a time are on their
way while others are used.  What is not told is fetched when it is asked for.
"""

from __future__ import annotations

import mmap
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeGuard

from qconv.storage.base import ByteRange, StoredFile
from qconv.storage.read_windows import WINDOWS, Window, windows

IN_FLIGHT = 4
"""Windows on their way at a time; of small ones more, up to one window's bytes."""
_MOST_REQUESTS = 16
_SMALLEST, _LARGEST = 1 << 20, 64 << 20
"""Bytes of a window."""
_AHEAD = 4
"""Windows' worth of what was told that is looked through for a read that comes early."""
_TOLD = 1 << 20
"""Bytes of a window after which those who wait are told."""
_PATIENCE = 0.05
"""Seconds that a read waits for others to use up windows, before one that is not used up goes, to be fetched twice."""
_LOOK = 0.2
"""Seconds between two looks at whether to stop."""


Arrived = Callable[[int], None]
"""Told how many bytes of a range are there, from its beginning; may raise to stop."""


class RangedFile(StoredFile, Protocol):
    """A file whose bytes come over a line."""

    ahead: ReadAhead | None

    def fetch(self, view: memoryview, offset: int, arrived: Arrived) -> None:
        """Fills ``view`` from byte ``offset`` on, in one request where all goes well; raises InputError."""
        ...


@contextmanager
def reading_ahead(files: Iterable[StoredFile], memory: int, check: Callable[[], None]) -> Iterator[ReadAhead]:
    """Reads ahead of those ``files`` that are not on this machine, within about ``memory`` bytes, until it is left.

    ``check``: called while a read waits; may raise to stop.
    """
    ahead = ReadAhead({id(file): file for file in files if is_ranged(file)}.values(), memory, check)
    try:
        yield ahead
    finally:
        ahead.close()


class _Closed(Exception):
    """Ends a fetch that nobody waits for any more."""


class ReadAhead:
    """Fetches what is told, for all files that share it, within ``memory`` bytes."""

    def __init__(self, files: Iterable[RangedFile], memory: int, check: Callable[[], None]) -> None:
        self._files = tuple(files)
        self._window = min(max(memory // WINDOWS, _SMALLEST), _LARGEST)
        self.memory = self._window * WINDOWS if self._files else 0
        """Bytes at most that windows take; 0 when all files are on this machine."""
        self._check = check
        self._changed = threading.Condition()
        self._told: Iterator[Window] = iter(())
        self._upcoming: deque[Window] = deque()
        self._live: list[Window] = []
        self._spare: mmap.mmap | None = None  # of a window that has just gone, for one that comes in its place
        self._closed = False

    @property
    def taken(self) -> int:
        """Bytes that windows take now."""
        return sum(w.size for w in self._live)

    def follow(self, ranges: Iterator[ByteRange]) -> None:
        """Begins to fetch ``ranges``, which are going to be read in about this order."""
        if not self._files:
            return
        mine = set(map(id, self._files))
        self._told = windows((r for r in ranges if id(r.file) in mine), self._window)
        for file in self._files:
            file.ahead = self
        with self._changed:
            self._start_next()

    def close(self) -> None:
        """Fetches no more."""
        for file in self._files:
            file.ahead = None
        with self._changed:
            self._closed = True
            self._upcoming.clear()
            self._live.clear()
            self._spare = None
            self._changed.notify_all()

    def read_into(self, file: RangedFile, view: memoryview, offset: int) -> None:
        """Fills ``view`` from byte ``offset`` of ``file``; raises what fetching raises."""
        while view:
            with self._changed:
                window = self._hold(file, offset)
                gap = len(view) if window is not None else self._gap(file, offset, len(view))
            if window is None:
                file.fetch(view[:gap], offset, lambda _: self._check())
                view, offset = view[gap:], offset + gap
                continue
            size = min(len(view), window.stop - offset)
            at = offset - window.start
            try:
                with self._changed:
                    self._await(window, at + size)
                if window.error is not None:
                    raise window.error
                assert window.data is not None
                view[:size] = memoryview(window.data)[at : at + size]
            finally:
                with self._changed:
                    window.users -= 1
                    window.use(offset, offset + size)
                    self._start_next()
            view, offset = view[size:], offset + size

    def _hold(self, file: RangedFile, offset: int) -> Window | None:
        """The window with byte ``offset`` of ``file``, kept until it is let go of; None when none is told of."""
        window = next((w for w in (*self._live, *self._upcoming) if _covers(w, file, offset)), None)
        ahead = sum(w.size for w in self._upcoming)
        while window is None and ahead < _AHEAD * self._window and (told := next(self._told, None)) is not None:
            self._upcoming.append(told)
            ahead += told.size
            window = told if _covers(told, file, offset) else None
        if window is not None:
            window.users += 1
        return window

    def _gap(self, file: RangedFile, offset: int, size: int) -> int:
        """Bytes up to the next window, at most ``size``."""
        starts = (w.start - offset for w in (*self._live, *self._upcoming) if w.file is file and w.start > offset)
        return min([size, *starts])

    def _await(self, window: Window, size: int) -> None:
        """Waits until the first ``size`` bytes of a window are there, or cannot be had."""
        waited = False
        while window.done < size and window.error is None and not self._closed:
            if window.data is None and self._make_room(window.size, needed=waited):
                self._upcoming.remove(window)
                self._start(window)
            waited = not self._changed.wait(_PATIENCE if window.data is None else _LOOK)
            self._check()
        if self._closed and window.error is None and window.done < size:
            raise _Closed

    def _start_next(self) -> None:
        """Starts what is next as far as there is room."""
        while not self._closed:
            on_their_way = [w for w in self._live if w.on_its_way]
            if not self._upcoming:
                told = next(self._told, None)
                if told is None:
                    break
                self._upcoming.append(told)
            window = self._upcoming[0]
            small = sum(w.size for w in on_their_way) + window.size <= self._window
            if len(on_their_way) >= (_MOST_REQUESTS if small else IN_FLIGHT) or not self._make_room(window.size):
                break
            self._upcoming.popleft()
            self._start(window)
        self._changed.notify_all()

    def _make_room(self, size: int, *, needed: bool = False) -> bool:
        """Lets go of windows that are used up until ``size`` bytes fit; says whether they do.

        ``needed``: a read has waited for it in vain, so that others go too once nothing else is on its way.
        """
        idle = [w for w in self._live if not w.users and not w.on_its_way]
        taken = self.taken
        stuck = needed and not any(w.on_its_way for w in self._live)
        for window in [*(w for w in idle if w.used_up), *(w for w in idle if stuck and not w.used_up)]:
            if taken + size <= self.memory:
                break
            self._live.remove(window)
            taken -= window.size
            self._spare = window.data
        return taken + size <= self.memory

    def _start(self, window: Window) -> None:
        spare, self._spare = self._spare, None
        if spare is None or len(spare) != window.size:  # pages that are there need not be made anew, which takes long
            spare = mmap.mmap(-1, window.size)  # goes back to the system as soon as nobody holds it
        window.data = spare
        self._live.append(window)
        threading.Thread(target=self._fetch, args=(window, window.data), daemon=True, name="qconv-fetch").start()

    def _fetch(self, window: Window, data: mmap.mmap) -> None:
        def arrived(done: int) -> None:
            if self._closed:
                raise _Closed
            if done - window.done >= _TOLD or done == window.size:
                with self._changed:
                    window.done = done
                    self._changed.notify_all()

        try:
            assert is_ranged(window.file)  # of others nothing is told
            window.file.fetch(memoryview(data), window.start, arrived)
        except BaseException as e:
            window.error = e
        with self._changed:
            self._start_next()


def is_ranged(file: StoredFile) -> TypeGuard[RangedFile]:
    """Whether a file's bytes come over a line."""
    return hasattr(file, "fetch")


def _covers(window: Window, file: RangedFile, offset: int) -> bool:
    return window.file is file and window.start <= offset < window.stop
