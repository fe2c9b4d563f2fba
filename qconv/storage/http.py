"""Files over HTTP: ranged requests, tried again where that helps, each answer checked against what the file was.

The session is huggingface_hub's, with its proxies and certificates.  Redirects are followed here: the Authorization
header goes to the host it is meant for and to no other, and the address a redirect leads to is used again until it
expires.  Addresses may hold secrets, signatures after the ``?``: no message, identity or cause of an error has one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import unquote, urlsplit

from qconv.errors import FormatError, InputError, UsageError
from qconv.storage.base import FileIdentity
from qconv.storage.headers import content_range, etags_of, origin, plain_etag, redirected
from qconv.storage.retries import AGAIN, Again, Attempts, retry_after

if TYPE_CHECKING:
    from httpx2 import Client, Response

    from qconv.storage.read_ahead import Arrived, ReadAhead

_CONNECT, _READ = 10.0, 60.0
"""Seconds until a server that does not answer, or sends nothing more, counts as gone."""
REDIRECTS = 5
"""Addresses that one leads to, one after the other, at most."""
_SECRET = ("authorization", "cookie")
_FEW = 2
"""Attempts more, where the answer is hardly a passing one."""
_BEGINNING, _LEAST_BEGINNING = 64 << 10, 4 << 10
"""Bytes at a file's beginning that are fetched together: the header of 4 GB of experts is about as long."""
_PREFETCHING = threading.Semaphore(8)
_CHANGED = "has changed since it was opened"
_RUNAGAIN = "run the same command again"


class Web:
    """How requests are made: one session, and the headers that say who asks, for one host only.

    ``refused``: the error for an answer of 401 or 403 to a request for the file at a location.
    """

    def __init__(self, headers: Mapping[str, str], home: str, refused: Callable[[str, Response], InputError]) -> None:
        self._headers = {k: v for k, v in headers.items() if k.lower() not in _SECRET}
        self._secret = {k: v for k, v in headers.items() if k.lower() in _SECRET}
        self._origin = origin(home)
        self.refused = refused

    def send(self, url: str, headers: Mapping[str, str]) -> Response:
        """The beginning of the answer to a GET; raises Again when there is none."""
        import httpx2

        sent = {**self._headers, "Accept-Encoding": "identity", **headers}
        if origin(url) == self._origin:
            sent |= self._secret
        client = session()
        timeout = httpx2.Timeout(_READ, connect=_CONNECT)
        try:
            request = client.build_request("GET", url, headers=sent, timeout=timeout)
            return client.send(request, stream=True, follow_redirects=False)
        except (httpx2.TransportError, httpx2.InvalidURL) as e:
            raise Again(f"{urlsplit(url).hostname} cannot be reached ({type(e).__name__})") from None


def session() -> Client:
    """huggingface_hub's session; raises UsageError where that is not installed."""
    try:
        from huggingface_hub import get_session
    except ImportError:
        raise UsageError("reading from the network needs huggingface_hub", hint="pip install 'qconv[hub]'") from None
    return get_session()


@dataclass(slots=True)
class _Beginning:
    """The first ``size`` bytes of a file, fetched once: reading a header takes several reads."""

    size: int
    data: bytes | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class HttpFile:
    """A ``RangedFile``.  ``url``: where it is asked for, perhaps with secrets; ``location``: what messages call it.

    ``etag``: what a redirect should tell as the contents' (``X-Linked-ETag``), None where that is not known.
    ``etags``: what hosts have told of it already.  ``version``: of its identity.
    """

    def __init__(
        self,
        web: Web,
        url: str,
        location: str,
        size: int,
        version: str,
        *,
        etag: str | None = None,
        etags: Mapping[str, str] | None = None,
        sha256: str | None = None,
    ) -> None:
        self.location = location
        self.name = unquote(location.rpartition("/")[2])
        self.size = size
        self.sha256 = sha256
        self.ahead: ReadAhead | None = None
        self._web = web
        self._url = url
        self._version = version
        self._lock = threading.Lock()
        self._direct: str | None = None
        self._etags = dict(etags or {})
        self._etag = etag
        self._open = True
        self._beginning = _Beginning(min(_BEGINNING, max(_LEAST_BEGINNING, size // 128), size))

    def identity(self) -> FileIdentity:
        return FileIdentity(self.location, self.size, self._version)

    def read(self, size: int, offset: int) -> bytes:
        data = bytearray(max(0, min(size, self.size - offset)))
        self.read_into(memoryview(data), offset)
        return bytes(data)

    def read_into(self, view: memoryview, offset: int) -> None:
        if offset + len(view) > self.size:
            raise FormatError("ends too early", file=self.location, offset=offset, hint="fetch or make it again")
        if self.ahead is not None:
            self.ahead.read_into(self, view, offset)
            return
        if offset + len(view) <= self._beginning.size or (offset < self._beginning.size and self._beginning.data):
            first = self._first_bytes()[offset : offset + len(view)]
            view[: len(first)] = first
            view, offset = view[len(first) :], offset + len(first)
        if view:
            self.fetch(view, offset, lambda _: None)

    def prefetch(self, size: int) -> None:
        """Fetches the beginning, where headers are; what follows is read ahead once the order is known."""

        def fetch() -> None:
            with _PREFETCHING, suppress(Exception):  # whoever reads meets the error
                self._first_bytes()

        if self._beginning.data is None:
            threading.Thread(target=fetch, daemon=True, name="qconv-fetch").start()

    def _first_bytes(self) -> bytes:
        beginning = self._beginning
        with beginning.lock:
            if beginning.data is None:
                data = bytearray(beginning.size)
                self.fetch(memoryview(data), 0, lambda _: None)
                beginning.data = bytes(data)
            return beginning.data

    def close(self) -> None:
        self._open = False

    def fetch(self, view: memoryview, offset: int, arrived: Arrived) -> None:
        if not self._open:
            raise UsageError("is closed", file=self.location)
        done = 0
        attempts = Attempts(self.location, lambda: arrived(done))
        while done < len(view):
            before = done
            try:
                with self._ranged(offset + done, offset + len(view)) as response:
                    for chunk in chunks(response):
                        piece = chunk[: len(view) - done]
                        view[done : done + len(piece)] = piece
                        done += len(piece)
                        arrived(done)
                        if done == len(view):
                            break
                if done < len(view):
                    raise Again("the answer ends too early")
            except Again as e:
                if done > before:
                    attempts.failed = 0
                attempts.after(e)

    @contextmanager
    def _ranged(self, start: int, stop: int) -> Iterator[Response]:
        """An answer whose body is bytes ``[start, stop)``, perhaps more; closed afterwards."""
        response = self._follow(start, stop)
        try:
            self._check(response, start)
            yield response
        finally:
            response.close()

    def _follow(self, start: int, stop: int) -> Response:
        """The answer at the end of all redirects."""
        url = self._direct or self._url
        for _ in range(REDIRECTS):
            response = self._web.send(url, {"Range": f"bytes={start}-{stop - 1}"})
            if not response.is_redirect:
                with self._lock:
                    self._direct = None if url == self._url else url
                return response
            self._check_linked(response.headers)
            response.close()
            url = redirected(url, response.headers["location"], self.location)
        raise InputError("leads from one address to the next without end", file=self.location)

    def _check(self, response: Response, start: int) -> None:
        """Raises Again, or InputError where trying again does not help, unless the body begins at byte ``start``."""
        status, headers = response.status_code, response.headers
        redirected_here = self._direct is not None
        if status in AGAIN:
            raise Again(f"the server answers {status}", retry_after(headers))
        if status >= 400 and redirected_here:
            self._direct = None  # its signature has expired: ask for a new one
            raise Again(f"the server answers {status}", most=_FEW)
        if status in (401, 403):
            raise self._web.refused(self.location, response)
        if status in (404, 410):
            raise InputError("is not there", file=self.location)
        if status == 416:
            self._changed()
        if status not in (200, 206):
            raise InputError(f"cannot be read: the server answers {status}", file=self.location)
        if headers.get("content-encoding", "identity") != "identity":
            raise Again("the server compresses its answer")
        self._check_etag(response)
        if status == 200:
            if int(headers.get("content-length", self.size)) != self.size:
                self._changed()
            if start:
                raise Again("the server sends the whole file where a part is asked for", most=_FEW)
            return
        first, total = content_range(headers)
        if total is not None and total != self.size:
            self._changed()
        if first != start:
            raise Again("the server sends another part than that asked for")

    def _check_linked(self, headers: Mapping[str, str]) -> None:
        """Whether a redirect of the Hub still tells of the same contents, which lie elsewhere."""
        etag, size = headers.get("x-linked-etag"), headers.get("x-linked-size")
        if self._etag is not None and etag is not None and plain_etag(etag) != self._etag:
            self._changed()
        if size is not None and size.isdecimal() and int(size) != self.size:
            self._changed()

    def _check_etag(self, response: Response) -> None:
        """Each host has an ETag of its own for the same contents, and keeps it."""
        for host, etag in etags_of(response).items():
            if etag != self._etags.setdefault(host, etag):
                self._changed()

    def _changed(self) -> NoReturn:
        raise InputError(_CHANGED, file=self.location, hint=_RUNAGAIN)


def chunks(response: Response) -> Iterator[bytes]:
    """The body as it comes; Again when the line breaks."""
    import httpx2

    try:
        yield from response.iter_raw()
    except (httpx2.TransportError, httpx2.StreamError) as e:
        raise Again(f"the line broke ({type(e).__name__})") from None
