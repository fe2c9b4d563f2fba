"""What a run reports while it goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Protocol

from qconv.pipeline.schedule import Block, TensorWork


class Progress(Protocol):
    """Told how a run goes on.  Bytes are those of the source rows read; called from worker threads."""

    def begin(self, size: int, tensors: int, resumed: int) -> None:
        """``size`` bytes in ``tensors`` tensors in all, ``resumed`` bytes of them done by an earlier run."""

    def advance(self, tensor: str, size: int) -> None:
        """``size`` more bytes of ``tensor`` are done."""

    def finish_tensor(self, tensor: str) -> None:
        """All of ``tensor`` (of this run's share) is done."""

    def note(self, text: str) -> None:
        """Something a person may want to know, such as an old part being discarded."""


class Silent:
    """A progress that shows nothing."""

    def begin(self, size: int, tensors: int, resumed: int) -> None:
        pass

    def advance(self, tensor: str, size: int) -> None:
        pass

    def finish_tensor(self, tensor: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Counter:
    """Counts the rows left of each tensor and tells the progress."""

    def __init__(self, segments: Iterable[Block], progress: Progress, whole: tuple[int, int] | None = None) -> None:
        """``whole``: bytes and tensors of all there is to do, an earlier run's share included; None: ``segments``."""
        self._progress = progress
        self._lock = threading.Lock()
        self._rows: dict[TensorWork, int] = {}
        left = 0
        for segment in segments:
            self._rows[segment.work] = self._rows.get(segment.work, 0) + segment.stop - segment.start
            left += segment.size
        size, tensors = whole or (left, len(self._rows))
        progress.begin(size, tensors, size - left)

    def did(self, block: Block) -> bool:
        """Counts a block; called by workers, one after the other for the progress' sake.  True: its tensor is done."""
        with self._lock:
            self._rows[block.work] -= block.stop - block.start
            self._progress.advance(block.work.name, block.size)
            done = not self._rows[block.work]
            if done:
                self._progress.finish_tensor(block.work.name)
            return done
