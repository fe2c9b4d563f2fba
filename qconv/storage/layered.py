"""Two folders as one: some files of the upper one in the place of the lower one's."""

from __future__ import annotations

from collections.abc import Collection

from qconv.storage.base import LARGEST_SMALL_FILE, Folder, StoredFile


class LayeredFolder:
    """``lower`` with the files and folders called ``names`` from ``upper``, and from there only."""

    def __init__(self, lower: Folder, upper: Folder, names: Collection[str], name: str) -> None:
        self._lower = lower
        self._upper = upper
        self._names = frozenset(names)
        self.name = name

    @property
    def location(self) -> str:
        return self._lower.location

    def _of(self, name: str) -> Folder:
        return self._upper if name.partition("/")[0] in self._names else self._lower

    def names(self, below: str = "") -> list[str]:
        if below:
            return self._of(below).names(below)
        folders = (self._lower, self._upper)
        return sorted({name for folder in folders for name in folder.names() if self._of(name) is folder})

    def has(self, name: str) -> bool:
        return self._of(name).has(name)

    def locate(self, name: str) -> str:
        return self._of(name).locate(name)

    def read(self, name: str, limit: int = LARGEST_SMALL_FILE) -> bytes:
        return self._of(name).read(name, limit)

    def open(self, name: str) -> StoredFile:
        return self._of(name).open(name)
