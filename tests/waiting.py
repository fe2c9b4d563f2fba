"""Waiting for what another thread or process does."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[Any] | None = None) -> None:
    """An error only when it will never be: how long it takes is the machine's affair.

    ``process``: whoever is to bring it about; that it has ended is an error at once.
    """
    deadline = time.monotonic() + 300
    while not condition():
        assert process is None or process.poll() is None, f"ended with {process.poll()} before it was so"
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
