"""SHA-256 of long stretches of files, several at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qconv.convert import pool
from qconv.convert.pool import Stop
from qconv.errors import InputError

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Stretch:
    """``size`` bytes of a file from ``offset`` on."""

    path: Path
    offset: int
    size: int


def sha256(stretches: Sequence[Stretch], threads: int) -> dict[Stretch, str]:
    """The hex digest of each.  Raises InputError when a file cannot be read or is too short."""
    found: dict[Stretch, str] = {}
    stop = Stop()

    def digest(stretch: Stretch, buffer: bytearray) -> None:
        found[stretch] = _digest(stretch, buffer, stop)

    longest_first = sorted(dict.fromkeys(stretches), key=lambda s: -s.size)
    buffers = [bytearray(_CHUNK) for _ in range(threads)]
    pool.carry_out(iter(longest_first), digest, buffers, stop, lambda: None)
    return found


def _digest(stretch: Stretch, buffer: bytearray, stop: Stop) -> str:
    digest = hashlib.sha256()
    left, offset = stretch.size, stretch.offset
    try:
        with stretch.path.open("rb", buffering=0) as file:
            while left:
                stop.check()
                view = memoryview(buffer)[: min(left, _CHUNK)]
                count = os.preadv(file.fileno(), [view], offset)
                if not count:
                    raise InputError("has become shorter", file=stretch.path, offset=offset)
                digest.update(view[:count])
                left, offset = left - count, offset + count
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror}", file=stretch.path) from e
    return digest.hexdigest()
