"""SHA-256 of long byte ranges of files, several at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from qconv.pipeline import Cancellation, run_workers
from qconv.storage import ByteRange

_CHUNK = 1 << 20


def sha256(ranges: Sequence[ByteRange], threads: int) -> dict[ByteRange, str]:
    """The hex digest of each.  Raises InputError when a file cannot be read or is too short."""
    digests: dict[ByteRange, str] = {}
    cancellation = Cancellation()

    def digest(wanted: ByteRange, buffer: bytearray) -> None:
        digests[wanted] = _digest(wanted, buffer, cancellation)

    longest_first = sorted(dict.fromkeys(ranges), key=lambda r: -r.size)
    run_workers(longest_first, digest, [bytearray(_CHUNK) for _ in range(threads)], cancellation)
    return digests


def _digest(wanted: ByteRange, buffer: bytearray, cancellation: Cancellation) -> str:
    digest = hashlib.sha256()
    for start in range(0, wanted.size, _CHUNK):
        cancellation.check()
        view = memoryview(buffer)[: min(wanted.size - start, _CHUNK)]
        wanted.file.read_into(view, wanted.offset + start)
        digest.update(view)
    return digest.hexdigest()
