"""How much work reading a hostile file takes: counted in calls and bytes, which no busy machine changes."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

MOST_CALLS = 100_000
"""Some hundredths of a second; refusing a file takes some hundreds, and its first time the reading of tables."""


@dataclass
class Work:
    """``calls``: of functions, those in C included.  ``memory``: bytes of Python's and numpy's at the most."""

    calls: int = 0
    memory: int = 0


@contextmanager
def measured() -> Iterator[Work]:
    """What this thread does within."""
    work = Work()

    def count(frame: FrameType, event: str, argument: object) -> None:
        work.calls += event in ("call", "c_call")

    tracemalloc.start()
    sys.setprofile(count)
    try:
        yield work
    finally:
        sys.setprofile(None)
        work.memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
