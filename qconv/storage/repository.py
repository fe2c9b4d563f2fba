"""Repositories of a hub: all their files are listed beforehand, with sizes and what their contents are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from qconv.errors import FormatError, InputError, nearest
from qconv.storage.base import LARGEST_SMALL_FILE, StoredFile
from qconv.storage.http import HttpFile, Web
from qconv.storage.local import is_inside

_KEPT = 4 << 20
"""Bytes of a small file at most that are kept: configurations and indexes are asked for several times."""


class Entry(NamedTuple):
    """A file as a hub lists it.

    ``version``: changes when its contents do.  ``url``: where it is asked for.  ``sha256``: of its contents, where the
    hub tells it; ``linked``: whether a redirect tells it too.
    """

    size: int
    version: str
    url: str
    sha256: str | None = None
    linked: bool = False


class RepositoryFolder:
    """A ``Folder`` of a hub's repository.

    ``root``: what messages call the repository.  ``name``: its own.  ``below``: a folder in it, empty for all of it.
    """

    def __init__(self, root: str, name: str, below: str, entries: Mapping[str, Entry], web: Web) -> None:
        self._root = root
        self._below = below + "/" if below else ""
        self._entries = entries
        self._web = web
        self._read: dict[str, bytes] = {}
        self.name = below.rpartition("/")[2] or name

    @property
    def location(self) -> str:
        return f"{self._root}/{self._below}".rstrip("/")

    def names(self, below: str = "") -> list[str]:
        prefix = self._below + (below.rstrip("/") + "/" if below else "")
        return sorted({n[len(prefix) :].partition("/")[0] for n in self._entries if n.startswith(prefix)})

    def has(self, name: str) -> bool:
        return is_inside(name) and self._below + name in self._entries

    def locate(self, name: str) -> str:
        return f"{self._root}/{self._below}{name}"

    def read(self, name: str, limit: int = LARGEST_SMALL_FILE) -> bytes:
        file = self.open(name)
        try:
            if file.size > limit:
                raise FormatError(f"is larger than {limit} bytes", file=file.location)
            data = self._read.get(name)
            if data is None:
                data = file.read(file.size, 0)
                if file.size <= _KEPT:
                    self._read[name] = data
            return data
        finally:
            file.close()

    def open(self, name: str) -> StoredFile:
        if not is_inside(name):
            hint = "only files of its own folder are read"
            raise FormatError(f"names a file outside its folder, '{name}'", file=self.location, hint=hint)
        path = self._below + name
        entry = self._entries.get(path)
        if entry is None:
            raise InputError("is not there", file=self.locate(name))
        return self._open_entry(path, entry)

    def _open_entry(self, path: str, entry: Entry) -> StoredFile:
        etag = entry.sha256 if entry.linked else None
        location = f"{self._root}/{path}"
        return HttpFile(self._web, entry.url, location, entry.size, entry.version, etag=etag, sha256=entry.sha256)


def folder_and_file(path: str, entries: Mapping[str, Entry], location: str) -> tuple[str, str | None]:
    """A path in a repository as a folder and, when it is a file's, the file's name.

    Raises InputError when there is neither; ``location`` is what it calls the path.
    """
    if path not in entries:
        if path and not any(name.startswith(f"{path}/") for name in entries):
            near = nearest(path, entries, most=3)
            hint = f"nearest: {', '.join(near)}" if near else None
            raise InputError("is not in the repository", file=location, hint=hint)
        return path, None
    folder, _, name = path.rpartition("/")
    return folder, name
