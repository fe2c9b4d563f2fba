"""Counts what is done and tells the progress."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from qconv.convert.options import Progress
from qconv.convert.schedule import Block, Tensor


class Tally:
    """Rows left of each tensor in this run."""

    def __init__(self, work: Iterable[tuple[Tensor, int, int]], segments: Iterable[Block], progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._left: dict[Tensor, int] = {}
        left = 0
        for segment in segments:
            self._left[segment.tensor] = self._left.get(segment.tensor, 0) + segment.stop - segment.start
            left += segment.size
        shares = [(stop - start) * tensor.source_row for tensor, start, stop in work if start < stop]
        size = sum(shares)
        progress.begin(size, len(shares), size - left)

    def did(self, block: Block) -> None:
        """Called by workers, one after the other for the progress' sake."""
        with self._lock:
            self._left[block.tensor] -= block.stop - block.start
            self._progress.advance(block.tensor.name, block.size)
            if not self._left[block.tensor]:
                self._progress.finish_tensor(block.tensor.name)
