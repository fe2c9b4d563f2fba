"""What the headers of an answer over HTTP say: where it leads, which part of a file it is, and which contents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from qconv.errors import InputError

if TYPE_CHECKING:
    from httpx2 import Response


def redirected(url: str, location: str, file: str) -> str:
    """The address a redirect leads to; raises InputError where it would leave the secure line, or HTTP."""
    try:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
        origin(target)
    except ValueError:
        raise InputError("leads to an address that is none", file=file) from None
    if scheme not in ("http", "https") or (urlsplit(url).scheme == "https" and scheme != "https"):
        raise InputError("leads to an address that is not secure", file=file)
    return target


def content_range(headers: Mapping[str, str]) -> tuple[int | None, int | None]:
    """First byte and whole size by ``Content-Range: bytes 0-9/100``, None where it does not say."""
    unit, _, rest = headers.get("content-range", "").partition(" ")
    place, _, total = rest.partition("/")
    first = place.partition("-")[0]
    known = unit == "bytes"
    return (int(first) if known and first.isdecimal() else None, int(total) if known and total.isdecimal() else None)


def etags_of(response: Response) -> dict[str, str]:
    """The ETag of an answer by the host that gave it; nothing where it gave none."""
    etag = response.headers.get("etag")
    return {} if etag is None else {origin(str(response.url)): plain_etag(etag)}


def plain_etag(etag: str) -> str:
    """Without quotes and the mark of weak ones."""
    return etag.removeprefix("W/").strip('"')


def origin(url: str) -> str:
    """Scheme, host and port: whom a secret is meant for."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port}"
