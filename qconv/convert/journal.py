"""The journal beside a part file: which rows of which tensors are surely on disk.

Text, one record a line, each line led by the CRC-32 of the rest, so that a torn or zeroed end is recognized and cut
off.  The first line names the plan by its fingerprint and this making of the part file by a random id.  After it come

``done TENSOR:START-STOP ...``   rows synced to disk before the line was written (tensors counted as in the plan)
``finishing``                    everything is done and synced; files are being renamed
"""

from __future__ import annotations

import re
import secrets
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from qconv.convert.ranges import Ranges

LARGEST = 256 << 20
"""Bytes of a journal that are read; a 700 B-weight conversion writes less than a hundredth of this."""

_FIRST = re.compile(r"qconv-journal 1 ([0-9a-f]{64}) ([0-9a-f]{32})")
_RANGE = re.compile(r"(\d{1,9}):(\d{1,18})-(\d{1,18})")

Batch = Iterable[tuple[int, Ranges]]


@dataclass(slots=True)
class Journal:
    """What a journal file says; ``size``: bytes up to the end of its last whole record."""

    fingerprint: str
    id: str
    done: dict[int, Ranges]
    finishing: bool
    size: int


def first_line(fingerprint: str, id: str | None = None) -> tuple[bytes, str]:
    """The line that opens a journal, and the id in it (a new one when none is given)."""
    id = id or secrets.token_hex(16)
    return _line(f"qconv-journal 1 {fingerprint} {id}"), id


def done_line(batch: Batch) -> bytes:
    return _line(" ".join(["done", *(f"{tensor}:{a}-{b}" for tensor, rows in batch for a, b in rows)]))


def finishing_line() -> bytes:
    return _line("finishing")


def parse(data: bytes) -> Journal | None:
    """The records up to the first line that is torn, damaged or unknown; None when even the first line is."""
    journal: Journal | None = None
    for line in data.splitlines(keepends=True):
        text = _checked(line)
        if journal is None:
            first = _FIRST.fullmatch(text)
            if first is None:
                return None
            journal = Journal(first[1], first[2], {}, False, 0)
        elif text == "finishing":
            journal.finishing = True
        elif not _add(text, journal.done):
            break
        journal.size += len(line)
    return journal


def _line(text: str) -> bytes:
    data = text.encode()
    return b"%08x %s\n" % (zlib.crc32(data), data)


def _checked(line: bytes) -> str:
    """A line's text, empty unless it is whole."""
    text = line[9:-1]
    return text.decode("ascii", "replace") if line == b"%08x %s\n" % (zlib.crc32(text), text) else ""


def _add(text: str, done: dict[int, Ranges]) -> bool:
    word, *ranges = text.split(" ")
    found = [_RANGE.fullmatch(r) for r in ranges]
    if word != "done" or not all(found):
        return False
    for match in found:
        if match is not None:
            done.setdefault(int(match[1]), Ranges()).add(int(match[2]), int(match[3]))
    return True
