"""Which kind of place an address names.  What reads over a line is imported for addresses of its kind only."""

from __future__ import annotations

import re

from qconv.storage.base import Folder

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # a single letter is a drive of Windows


def is_address(text: str) -> bool:
    """Whether ``text`` is an address rather than a path of this machine."""
    return _SCHEME.match(text) is not None


def open_address(text: str, *, keep: bool = False) -> tuple[Folder, str | None]:
    """The folder at an address, and the file in it when the address names one.

    ``keep``: what is read of the Hub is kept in its cache.  Raises UsageError for an address of no kind qconv knows, or
    when what reads it is not installed, InputError when there is nothing or it cannot be read.
    """
    scheme, _, rest = text.partition("://")
    if scheme == "hf":
        from qconv.storage.hub import open_hub

        return open_hub(rest, keep=keep)
    if scheme in ("https", "http"):
        from qconv.storage.web import open_web

        return open_web(text)
    if scheme == "ms":
        from qconv.storage.modelscope import open_modelscope

        return open_modelscope(rest)
    from qconv.storage.other import open_other

    return open_other(text)
