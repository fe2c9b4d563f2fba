"""How much memory a conversion may take, and a gate for the rare pieces of work that need a large share of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
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


class Gate:
    """Lets work in while its bytes fit together."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = size
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Waits for ``size`` bytes; work larger than the gate is let in alone."""
        size = min(size, self.size)
        if size:
            with self._changed:
                self._changed.wait_for(lambda: self._free >= size)
                self._free -= size
        try:
            yield
        finally:
            if size:
                with self._changed:
                    self._free += size
                    self._changed.notify_all()
