"""BLAS with one thread: several would share out a product differently, and round it differently.

OpenBLAS takes the number of threads from a process's main thread alone; told by another it goes on with what it had.
So what starts workers enters ``single_threaded`` before it does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_lock = threading.Lock()
_users = 0
_limits: Any = None


@contextmanager
def single_threaded() -> Iterator[None]:
    """While anyone is inside, BLAS computes with one thread in this process; several threads may be inside at once."""
    global _users, _limits
    with _lock:
        if not _users:
            _limits = _controller().limit(limits=1, user_api="blas")
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _limits.restore_original_limits()


@cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
