"""How much memory a conversion may take, and a gate for the rare pieces of work that need a large share of it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from qconv import platform
from qconv.errors import UsageError

DEFAULT = 400_000_000
"""Bytes of resident memory the whole process stays under unless told otherwise."""

_SLACK = 24 << 20
"""Bytes for what is not counted piece by piece: stacks, Python objects, allocator rounding."""

_LEAST = 8 << 20
"""Bytes without which not even small row blocks can be worked on."""


def budget(limit: int | None) -> int:
    """Bytes that row blocks may take, so that the process stays under ``limit`` bytes (``DEFAULT`` when None)."""
    platform.give_back_memory()  # planning may have parsed a large tokenizer
    taken = platform.resident_bytes() + _SLACK
    left = (DEFAULT if limit is None else limit) - taken
    if limit is not None and left < _LEAST:
        needed = (taken + _LEAST) // 1_000_000 + 1
        raise UsageError(f"--memory of {limit} bytes is too little here", hint=f"give at least {needed}MB")
    return max(left, _LEAST)


_LOOK = 0.2
"""Seconds between two looks at whether to give up."""


class Gate:
    """Lets work in while its bytes fit together, first come first served."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = size
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    def acquire(self, size: int, check: Callable[[], None] | None = None) -> None:
        """Waits for ``size`` bytes; work larger than the gate is let in alone.  ``check``, called now and then
        meanwhile, may raise to give up."""
        size = min(size, self.size)
        if not size:
            return
        me = object()
        with self._changed:
            self._waiting.append(me)
            try:
                while not self._changed.wait_for(lambda: self._waiting[0] is me and self._free >= size, _LOOK):
                    if check is not None:
                        check()
                self._free -= size
            finally:
                self._waiting.remove(me)
                self._changed.notify_all()

    def release(self, size: int) -> None:
        """Gives back what was acquired."""
        with self._changed:
            self._free += min(size, self.size)
            self._changed.notify_all()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Acquires ``size`` bytes meanwhile."""
        self.acquire(size)
        try:
            yield
        finally:
            self.release(size)
