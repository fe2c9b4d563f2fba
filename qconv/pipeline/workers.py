"""A pool of threads that stops as one: at the first error, or within a second of Ctrl-C."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
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


class Cancellation:
    """Tells workers to stop, and keeps the first error that was a reason to.

    ``abandoned``: a worker did not stop in time and may still use what it was given, as open files.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.abandoned = False
        self._lock = threading.Lock()
        self._set = False

    def because(self, error: BaseException) -> None:
        with self._lock:
            if not self._set:
                self._set, self.error = True, error

    def check(self) -> None:
        """Raises ``Stopped`` when it is time to stop."""
        if self._set:
            raise Stopped


def run_workers(
    tasks: Iterable[T], work: Callable[[T, S], None], resources: Sequence[S], cancellation: Cancellation
) -> None:
    """Does all ``tasks`` with one thread for each of ``resources``, its own; raises the first error of any.

    On Ctrl-C waits for the workers, but less than a second; ``cancellation.abandoned`` is set when one has not stopped
    by then.
    """
    lock = threading.Lock()
    remaining = iter(tasks)

    def run(resource: S, ended: threading.Event) -> None:
        try:
            while True:
                with lock:
                    cancellation.check()
                    task = next(remaining, None)
                if task is None:
                    return
                work(task, resource)
        except Stopped:
            return
        except BaseException as e:
            cancellation.because(e)
        finally:
            ended.set()

    # events, because Thread.join, when Ctrl-C ends it, takes the thread for one that has ended (Python 3.11)
    started: list[threading.Event] = []
    try:
        for resource in resources:
            ended = threading.Event()
            started.append(ended)
            try:
                threading.Thread(target=run, args=(resource, ended), daemon=True, name="qconv").start()
            except RuntimeError as e:
                started.pop()
                if not started:
                    raise QconvError(f"no thread can be started: {e}", hint="raise the limit of processes") from e
                break
        for ended in started:
            while not ended.wait(_LOOK):
                pass
    except BaseException as e:
        cancellation.because(e)
        deadline = time.monotonic() + _PATIENCE
        try:
            for ended in started:
                ended.wait(max(0.0, deadline - time.monotonic()))
        finally:
            if not all(ended.is_set() for ended in started):
                cancellation.abandoned = True
        raise
    if cancellation.error is not None:
        raise cancellation.error
