"""Places that fsspec reads: ``s3://``, ``gs://``, ``az://`` and the rest of what it knows."""

from __future__ import annotations

from typing import Any

from qconv.errors import FormatError, InputError, UsageError
from qconv.storage.base import LARGEST_SMALL_FILE, FileIdentity, Folder, shown
from qconv.storage.local import is_inside
from qconv.storage.read_ahead import Arrived, ReadAhead
from qconv.storage.retries import Again, Attempts

_PIECE = 4 << 20
"""Bytes asked for at once: fsspec hands them out as a copy."""
_VERSIONS = ("ETag", "etag", "generation", "md5Hash", "content_md5", "sha256", "LastModified", "last_modified", "mtime")
"""Where file systems say which contents a file has, the surest first."""


class OtherFolder:
    """A ``Folder`` of an fsspec file system.  ``path``: as that calls it, without a slash at its end."""

    def __init__(self, filesystem: Any, path: str, scheme: str) -> None:
        self._filesystem = filesystem
        self._path = path
        self._scheme = scheme

    @property
    def location(self) -> str:
        return f"{self._scheme}://{self._path.lstrip('/')}"

    @property
    def name(self) -> str:
        return self._path.rpartition("/")[2]

    def names(self, below: str = "") -> list[str]:
        path = f"{self._path}/{below}".rstrip("/") if below else self._path
        try:
            entries = self._filesystem.ls(path, detail=False)
        except FileNotFoundError:
            return []
        except Exception as e:
            raise InputError(f"cannot be listed: {type(e).__name__}", file=self.location) from None
        return sorted({str(entry).rstrip("/").rpartition("/")[2] for entry in entries} - {""})

    def has(self, name: str) -> bool:
        try:
            return is_inside(name) and bool(self._filesystem.isfile(f"{self._path}/{name}"))
        except Exception as e:
            raise InputError(f"cannot be read: {type(e).__name__}", file=self.locate(name)) from None

    def locate(self, name: str) -> str:
        return f"{self.location}/{name}"

    def read(self, name: str, limit: int = LARGEST_SMALL_FILE) -> bytes:
        file = self.open(name)
        if file.size > limit:
            raise FormatError(f"is larger than {limit} bytes", file=file.location)
        return file.read(file.size, 0)

    def open(self, name: str) -> OtherFile:
        if not is_inside(name):
            raise FormatError(f"names a file outside its folder, '{name}'", file=self.location)
        return OtherFile(self._filesystem, f"{self._path}/{name}", self.locate(name))


class OtherFile:
    """A ``RangedFile`` of an fsspec file system."""

    sha256: str | None = None

    def __init__(self, filesystem: Any, path: str, location: str) -> None:
        self.location = location
        self.name = path.rpartition("/")[2]
        self.ahead: ReadAhead | None = None
        self._filesystem = filesystem
        self._path = path
        self._open = True
        self._identity = self._ask()
        self.size = self._identity.size

    def identity(self) -> FileIdentity:
        return self._ask()

    def read(self, size: int, offset: int) -> bytes:
        data = bytearray(max(0, min(size, self.size - offset)))
        self.read_into(memoryview(data), offset)
        return bytes(data)

    def read_into(self, view: memoryview, offset: int) -> None:
        if offset + len(view) > self.size:
            raise FormatError("ends too early", file=self.location, offset=offset, hint="fetch or make it again")
        if self.ahead is not None:
            self.ahead.read_into(self, view, offset)
        else:
            self.fetch(view, offset, lambda _: None)

    def prefetch(self, size: int) -> None:
        """What is told in order is read ahead; this is only a guess."""

    def close(self) -> None:
        self._open = False

    def fetch(self, view: memoryview, offset: int, arrived: Arrived) -> None:
        if not self._open:
            raise UsageError("is closed", file=self.location)
        done = 0
        attempts = Attempts(self.location, lambda: arrived(done))
        while done < len(view):
            start, stop = offset + done, offset + min(done + _PIECE, len(view))
            try:
                data = self._piece(start, stop)
            except Again as e:
                attempts.after(e)
                continue
            attempts.failed = 0
            view[done : done + len(data)] = data
            done += len(data)
            arrived(done)

    def _piece(self, start: int, stop: int) -> bytes:
        try:
            data: bytes = self._filesystem.cat_file(self._path, start=start, end=stop)
        except FileNotFoundError:
            raise InputError("is gone", file=self.location) from None
        except PermissionError:
            raise InputError("may not be read", file=self.location) from None
        except Exception as e:  # of any library; what it says may hold secrets
            raise Again(type(e).__name__) from None
        if len(data) != stop - start:
            raise Again("the answer ends too early")
        return data

    def _ask(self) -> FileIdentity:
        attempts = Attempts(self.location)
        while True:
            try:
                self._filesystem.invalidate_cache()
                info = self._filesystem.info(self._path)
                break
            except FileNotFoundError:
                raise InputError("is not there", file=self.location) from None
            except PermissionError:
                raise InputError("may not be read", file=self.location) from None
            except Exception as e:
                attempts.after(Again(type(e).__name__))
        if info.get("type") != "file" or not isinstance(info.get("size"), int):
            raise InputError("is not a file", file=self.location)
        version = next((str(info[key]) for key in _VERSIONS if info.get(key)), "")
        return FileIdentity(self.location, info["size"], version)


def open_other(address: str) -> tuple[Folder, str | None]:
    """The folder at an address fsspec knows, and the file in it when it is a file's.

    Raises UsageError where fsspec or what it needs for that is not installed, InputError when there is nothing.
    """
    scheme = address.partition("://")[0]
    try:
        import fsspec
    except ImportError:
        raise UsageError(f"reading {scheme}:// needs fsspec", hint="pip install 'qconv[fsspec]'") from None
    try:
        filesystem, path = fsspec.core.url_to_fs(address)
    except ImportError as e:
        raise UsageError(f"reading {scheme}:// needs more: {e}", hint="pip install it") from None
    except ValueError:
        hint = "hf://ORG/NAME, ms://ORG/NAME, https://..., s3://, gs://, az://"
        raise UsageError(f"'{scheme}' is not a kind of address qconv knows", hint=hint) from None
    except Exception as e:  # of any library; what it says may hold secrets
        raise InputError(f"cannot be reached: {type(e).__name__}", file=shown(address)) from None
    path = str(path).rstrip("/")
    try:
        is_file, is_there = filesystem.isfile(path), filesystem.exists(path)
    except Exception as e:
        raise InputError(f"cannot be read: {type(e).__name__}", file=shown(address)) from None
    if not is_there:
        raise InputError("is not there", file=shown(address))
    folder, _, name = path.rpartition("/") if is_file else (path, "", "")
    return OtherFolder(filesystem, folder, scheme), name or None
