"""Makes finished rows last: every so often waits for the disk, then records in the journals what was written before."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence

from qconv.conversion.part_files import PartFiles
from qconv.pipeline import Cancellation, Ranges, Target

SECONDS = 1.0
"""Longest time between two syncs."""

BYTES = 32 << 20
"""Bytes after which a sync begins at once: what a stopped conversion has to do again, and the wait at its end."""

_LOOK = 0.2
"""Seconds that the end is waited for at a time: on Windows a Ctrl-C ends no wait that has no end of its own."""


class JournalWriter:
    """A thread of its own, so that encoding goes on while the disk works."""

    def __init__(self, outputs: Sequence[PartFiles], cancellation: Cancellation) -> None:
        self._outputs = outputs
        self._cancellation = cancellation
        self._changed = threading.Condition()
        self._pending: list[dict[int, Ranges]] = [{} for _ in outputs]
        self._bytes = 0
        self._closing = False
        self._failed = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="qconv sync")

    def start(self) -> None:
        self._thread.start()

    def wrote(self, target: Target, start: int, stop: int, size: int) -> None:
        """Rows ``[start, stop)``, ``size`` bytes, have been written."""
        output, tensor = target
        with self._changed:
            self._pending[output].setdefault(tensor, Ranges()).add(start, stop)
            self._bytes += size
            if self._bytes >= BYTES:
                self._changed.notify()

    def close(self, *, record: bool, patience: float = math.inf) -> bool:
        """Ends the thread, waiting at most ``patience`` seconds; False when it has not ended by then.

        ``record``: first syncs and records what is pending, unless an earlier sync failed: after a failure the system
        no longer says which pages are lost.  Raises what that sync raises.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        deadline = time.monotonic() + patience
        while self._thread.ident is not None and not self._ended.wait(min(_LOOK, patience)):
            if time.monotonic() >= deadline:
                return False
        if record and not self._failed:
            self._sync()
        return True

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    if not self._closing and self._bytes < BYTES:
                        self._changed.wait(SECONDS)
                    if self._closing:
                        return
                self._sync()
        except BaseException as e:
            self._cancellation.because(e)
        finally:
            self._ended.set()

    def _sync(self) -> None:
        with self._changed:
            pending, self._pending = self._pending, [{} for _ in self._outputs]
            self._bytes = 0
        self._failed = True
        for output, batch in zip(self._outputs, pending, strict=True):
            if batch:
                output.sync(batch)
        self._failed = False
