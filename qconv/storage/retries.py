"""Trying again: what may pass by itself, how long to wait for that, and when to give up."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from qconv.errors import InputError

WAITS = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0]
"""Seconds before each further attempt, as long as not one byte comes; a server's Retry-After may make them longer."""
LONGEST_WAIT = 300.0
"""Seconds a server may ask to be left alone, before that is an error."""
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
"""Answers after which the same request may do better."""

log = logging.getLogger("qconv")
_telling = threading.Lock()
_told: dict[str, float] = {}
"""By location, until when a wait lasts that was told: windows of one file fail together."""


class Again(Exception):
    """A request failed in a way that may pass.

    ``wait``: seconds the server asks for.  ``most``: attempts after which it is not going to pass, None for as many as
    there are.
    """

    def __init__(self, what: str, wait: float | None = None, most: int | None = None) -> None:
        super().__init__(what)
        self.wait = wait
        self.most = most


@dataclass(slots=True)
class Attempts:
    """Counts failures in a row, waits after each, and gives up after the last."""

    location: str
    check: Callable[[], None] = field(default=lambda: None)
    failed: int = 0

    def after(self, failure: Again) -> None:
        """Waits before the next attempt, which the logger ``qconv`` is told; raises InputError when there is none."""
        wait = max(WAITS[self.failed] if self.failed < len(WAITS) else 0.0, failure.wait or 0.0)
        most = len(WAITS) if failure.most is None else failure.most
        if self.failed >= most or wait > LONGEST_WAIT:
            later = f"; the server asks to wait {wait:.0f} seconds" if wait > LONGEST_WAIT else ""
            hint = "run the same command again later: what a conversion has done is kept"
            raise InputError(f"cannot be read: {failure}{later}", file=self.location, hint=hint)
        self.failed += 1
        _tell(self.location, failure, wait)
        end = time.monotonic() + wait
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, 0.1))


def _tell(location: str, failure: Again, wait: float) -> None:
    now = time.monotonic()
    with _telling:
        if now < _told.get(location, 0.0):
            return
        _told[location] = now + wait
    log.warning("%s: %s; trying again in %.2g s", location, failure, wait)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by ``Retry-After`` (seconds or a date) or the Hub's ``RateLimit`` (``"resolvers";r=0;t=55``)."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    if text:
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
        except ValueError:
            return None
    parts = dict(part.strip().partition("=")[::2] for part in headers.get("ratelimit", "").split(";"))
    return float(parts["t"]) if parts.get("r") == "0" and parts.get("t", "").isdecimal() else None
