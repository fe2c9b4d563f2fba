"""A file at an ``https:`` address, and what stands beside it.

A web server lists no folder, so a file is there when it can be asked for.  Addresses of the Hub's own pages and files
are the Hub's models.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from qconv.errors import FormatError, InputError, UsageError
from qconv.storage.base import LARGEST_SMALL_FILE, Folder, shown
from qconv.storage.headers import content_range, etags_of, redirected
from qconv.storage.http import REDIRECTS, HttpFile, Web, session
from qconv.storage.hub import open_hub
from qconv.storage.local import is_inside
from qconv.storage.retries import Again, Attempts

_ON_THE_HUB = re.compile(r"/(?P<repository>[^/]+/[^/]+)/(?:resolve|blob|raw)/(?P<revision>[^/]+)/(?P<path>.+)")
_SIDE_FILES = frozenset({403, 404, 410})
"""Answers that mean there is no such file; some stores say 403 for what they do not list."""


class _Entry(NamedTuple):
    """What is known of a file: where it is asked for, its size, its version, and its ETag by host."""

    url: str
    size: int
    version: str
    etags: dict[str, str]


class WebFolder:
    """A ``Folder``: what has an address that begins as that of the file ``given``, whose own may end in a signature."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._path, _, given = self._parts.path.rpartition("/")
        self.given = unquote(given)
        host = self._parts.hostname or ""
        self._host = host if self._parts.port is None else f"{host}:{self._parts.port}"
        self._entries: dict[str, _Entry | None] = {}
        self._web = Web({}, url, lambda at, answer: InputError(f"the server answers {answer.status_code}", file=at))

    @property
    def location(self) -> str:
        return f"{self._parts.scheme}://{self._host}{self._path}"

    @property
    def name(self) -> str:
        return unquote(self._path.rpartition("/")[2]) or self._host

    def names(self, below: str = "") -> list[str]:
        return [] if below else [self.given]

    def has(self, name: str) -> bool:
        return is_inside(name) and self._find(name) is not None

    def locate(self, name: str) -> str:
        return f"{self.location}/{quote(name)}"

    def read(self, name: str, limit: int = LARGEST_SMALL_FILE) -> bytes:
        file = self.open(name)
        if file.size > limit:
            raise FormatError(f"is larger than {limit} bytes", file=file.location)
        return file.read(file.size, 0)

    def open(self, name: str) -> HttpFile:
        if not is_inside(name):
            raise FormatError(f"names a file outside its folder, '{name}'", file=self.location)
        entry = self._find(name)
        if entry is None:
            raise InputError("is not there", file=self.locate(name))
        return HttpFile(self._web, entry.url, self.locate(name), entry.size, entry.version, etags=entry.etags)

    def _find(self, name: str) -> _Entry | None:
        attempts = Attempts(self.locate(name))
        while name not in self._entries:
            try:
                self._entries[name] = self._ask(name)
            except Again as e:
                attempts.after(e)
        return self._entries[name]

    def _ask(self, name: str) -> _Entry | None:
        """The file's size and ETag from the answer to a request for its first byte."""
        start = urlunsplit((*self._parts[:2], f"{self._path}/{quote(name)}", "", ""))
        url = target = urlunsplit(self._parts) if name == self.given else start
        location = self.locate(name)
        for _ in range(REDIRECTS):
            response = self._web.send(target, {"Range": "bytes=0-0"})
            response.close()
            if not response.is_redirect:
                break
            target = redirected(target, response.headers["location"], location)
        headers, status = response.headers, response.status_code
        if status in _SIDE_FILES and name != self.given:
            return None
        if status in (404, 410):
            raise InputError("is not there", file=location)
        if status in (401, 403):
            raise self._web.refused(location, response)
        if status == 429 or status >= 500:
            raise Again(f"the server answers {status}")
        length = headers.get("content-length", "")
        size = int(length) if status == 200 and length.isdecimal() else content_range(headers)[1]
        if status not in (200, 206, 416) or size is None:
            raise InputError("cannot be read: the server does not tell its size", file=location, hint="download it")
        etags = etags_of(response)
        version = next(iter(etags.values()), headers.get("last-modified", ""))
        return _Entry(url, size, version, etags)


def open_web(url: str) -> tuple[Folder, str | None]:
    """The folder of a file at an address, and the file's name.

    Raises UsageError for an address without a file's name, InputError as ``open_hub`` does.
    """
    session()
    parts = urlsplit(url)
    from huggingface_hub import constants

    if (parts.scheme, parts.netloc) == urlsplit(constants.ENDPOINT)[:2] and (m := _ON_THE_HUB.fullmatch(parts.path)):
        return open_hub(f"{m['repository']}@{m['revision']}/{unquote(m['path'])}", keep=False)
    if not parts.hostname or parts.path.endswith("/") or not parts.path:
        raise UsageError(
            "is not an address of a file", file=shown(url), hint="give that of a .safetensors or .gguf file"
        )
    folder = WebFolder(url)
    return folder, folder.given
