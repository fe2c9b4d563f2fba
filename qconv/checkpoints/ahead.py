"""A hint to the system that weights will be read soon, so that the disk does not rest meanwhile."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

AHEAD = 256 << 20
"""Bytes; a fast disk reads as much in the time that a plan takes."""
_STEP = 1 << 20
"""Bytes; of a longer stretch, Linux reads only the beginning."""


def bring_near(files: Sequence[Path], size: int = AHEAD) -> None:
    """Has the first ``size`` bytes of ``files`` read into the system's cache, without waiting for them.

    Nothing happens where the system takes no such hint, as macOS does not, or the files cannot be read.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    for path in files:
        with suppress(OSError), path.open("rb") as file:
            stop = min(size, os.fstat(file.fileno()).st_size)
            size -= stop
            for start in range(0, stop, _STEP):
                os.posix_fadvise(file.fileno(), start, min(_STEP, stop - start), os.POSIX_FADV_WILLNEED)
        if size <= 0:
            return
