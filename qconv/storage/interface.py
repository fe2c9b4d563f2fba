"""What a hub's interface answers: JSON, bounded, asked again where that helps."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from qconv.errors import FormatError, InputError
from qconv.storage.headers import redirected
from qconv.storage.http import REDIRECTS, Web, chunks
from qconv.storage.retries import AGAIN, Again, Attempts, retry_after

if TYPE_CHECKING:
    from httpx2 import Response

LARGEST_ANSWER = 64 << 20
"""Bytes; a thousand files are listed in a few hundred kilobytes."""
_FIRST = 3
"""Attempts more where no server is reached: whoever mistyped a name, or has no network, is not kept waiting."""

T = TypeVar("T")


def ask(web: Web, url: str, location: str, kind: type[T]) -> tuple[T, str | None]:
    """The answer as ``kind``, and the address of what goes on with it, where the answer is one page of several.

    ``location``: what messages call what is asked about.  Raises InputError when there is no answer, what
    ``web.refused`` makes of a refusal, and FormatError for more than ``LARGEST_ANSWER`` bytes.
    """
    attempts = Attempts(location)
    while True:
        try:
            return _answer(web, url, location, kind)
        except Again as e:
            attempts.after(e)


def _answer(web: Web, url: str, location: str, kind: type[T]) -> tuple[T, str | None]:
    response = _follow(web, url, location)
    try:
        if response.status_code in AGAIN:
            raise Again(f"the server answers {response.status_code}", retry_after(response.headers))
        if response.status_code != 200:
            raise web.refused(location, response)
        data = bytearray()
        for chunk in chunks(response):
            data += chunk
            if len(data) > LARGEST_ANSWER:
                raise FormatError(f"is told of in more than {LARGEST_ANSWER} bytes", file=location)
        following = response.links.get("next", {}).get("url")
    finally:
        response.close()
    try:
        answer = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Again("the server answers in a way its interface does not") from None
    return answer, None if following is None else redirected(url, following, location)


def _follow(web: Web, url: str, location: str) -> Response:
    """The answer at the end of all redirects, such as a renamed model's."""
    for _ in range(REDIRECTS):
        try:
            response = web.send(url, {})
        except Again as e:
            e.most = _FIRST
            raise
        if not response.is_redirect:
            return response
        response.close()
        url = redirected(url, response.headers["location"], location)
    raise InputError("leads from one address to the next without end", file=location)
