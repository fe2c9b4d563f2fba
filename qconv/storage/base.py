"""What a place that keeps checkpoints offers: names, small files whole, large ones by position, and their identity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

LARGEST_SMALL_FILE = 256 << 20
"""Bytes of a file that is read whole; the largest tokenizer.json known is 34 MB."""


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Which contents a file has.  ``version`` changes when they do: a modification time, an ETag, a commit."""

    location: str
    size: int
    version: str


class StoredFile(Protocol):
    """A large file, open for reading by any number of threads at once."""

    @property
    def location(self) -> str:
        """What messages call it: a path or an address."""
        ...

    @property
    def name(self) -> str:
        """Its name without its folder."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def sha256(self) -> str | None:
        """The hex digest its place vouches for; None where contents have to be read to know it."""
        ...

    def identity(self) -> FileIdentity:
        """Its identity as it is now; raises InputError when it is gone."""
        ...

    def read(self, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes from ``offset`` on, fewer at the end of the file; raises InputError."""
        ...

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fills ``view`` from byte ``offset`` on.

        Raises InputError when reading fails, FormatError when the file ends too early.
        """
        ...

    def prefetch(self, size: int) -> None:
        """Tells the system that the first ``size`` bytes will be read soon; never waits, never raises."""
        ...

    def close(self) -> None:
        """Lets go of it; reading afterwards is an error."""
        ...


@dataclass(frozen=True, slots=True)
class ByteRange:
    """``size`` bytes of an open file from ``offset`` on."""

    file: StoredFile
    offset: int
    size: int


class Folder(Protocol):
    """The files of one checkpoint.  Names may lead into folders below (``1_Pooling/config.json``), never out."""

    @property
    def location(self) -> str:
        """What messages call it."""
        ...

    @property
    def name(self) -> str:
        """The model's name as far as the place tells it: outputs are named after it."""
        ...

    def names(self, below: str = "") -> list[str]:
        """Names of what is right in it, or in its folder ``below``, sorted; none when there is no such folder.

        Raises InputError when it cannot be listed.
        """
        ...

    def has(self, name: str) -> bool:
        """Whether there is such a file; False for names that lead out of the folder."""
        ...

    def locate(self, name: str) -> str:
        """What messages call the file ``name``."""
        ...

    def read(self, name: str, limit: int = LARGEST_SMALL_FILE) -> bytes:
        """A small file whole.

        Raises FormatError for more than ``limit`` bytes or a name that leads out, InputError when it cannot be read.
        """
        ...

    def open(self, name: str) -> StoredFile:
        """A large file; raises InputError when it cannot be opened, FormatError for a name that leads out."""
        ...


def shown(address: str) -> str:
    """An address without what may be secret: who asks, and all that follows the path."""
    if "://" not in address:
        return address
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
