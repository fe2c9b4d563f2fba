"""A pool of threads that stops as one: at the first error, or within a second of Ctrl-C."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from qconv.errors import QconvError

_PATIENCE = 0.5
"""Seconds that workers get to stop; one that hangs in a read from a dead disk is left behind."""

_LOOK = 0.2
"""Seconds between two looks at whether Ctrl-C was pressed: a signal that comes just before a wait does not end it."""

T = TypeVar("T")
S = TypeVar("S")


class Stopped(Exception):
    """Raised inside a worker that is told to stop; never seen outside the pool."""


class Stop:
    """Tells workers to stop, and keeps the first error that was a reason to."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._lock = threading.Lock()
        self._set = False

    def because(self, error: BaseException) -> None:
        with self._lock:
            if not self._set:
                self._set, self.error = True, error

    def check(self) -> None:
        if self._set:
            raise Stopped


def carry_out(
    tasks: Iterator[T], work: Callable[[T, S], None], spaces: Sequence[S], stop: Stop, abandon: Callable[[], None]
) -> None:
    """Does all ``tasks`` with one thread for each of ``spaces``; raises the first error of any.

    On Ctrl-C waits for the workers, but less than a second: ``abandon`` is called when one has not stopped by then, to
    keep its files from being closed under it.
    """
    lock = threading.Lock()

    def run(space: S, ended: threading.Event) -> None:
        try:
            while True:
                with lock:
                    stop.check()
                    task = next(tasks, None)
                if task is None:
                    return
                work(task, space)
        except Stopped:
            return
        except BaseException as e:
            stop.because(e)
        finally:
            ended.set()

    # events, because Thread.join, when Ctrl-C ends it, takes the thread for one that has ended (Python 3.11)
    started: list[threading.Event] = []
    try:
        for space in spaces:
            ended = threading.Event()
            started.append(ended)
            try:
                threading.Thread(target=run, args=(space, ended), daemon=True, name="qconv").start()
            except RuntimeError as e:
                started.pop()
                if not started:
                    raise QconvError(f"no thread can be started: {e}", hint="raise the limit of processes") from e
                break
        for ended in started:
            while not ended.wait(_LOOK):
                pass
    except BaseException as e:
        stop.because(e)
        deadline = time.monotonic() + _PATIENCE
        try:
            for ended in started:
                ended.wait(max(0.0, deadline - time.monotonic()))
        finally:
            if not all(ended.is_set() for ended in started):
                abandon()
        raise
    if stop.error is not None:
        raise stop.error
