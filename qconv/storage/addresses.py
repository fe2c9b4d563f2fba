"""Which kind of place an address names."""

from __future__ import annotations

import re

from qconv.storage.base import Folder
from qconv.storage.hub import SCHEME, open_hub
from qconv.storage.modelscope import SCHEME as MODELSCOPE
from qconv.storage.modelscope import open_modelscope
from qconv.storage.other import open_other
from qconv.storage.web import open_web

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_address(text: str) -> bool:
    """Whether ``text`` is an address rather than a path of this machine."""
    return _SCHEME.match(text) is not None


def open_address(text: str, *, keep: bool = False) -> tuple[Folder, str | None]:
    """The folder at an address, and the file in it when the address names one.

    ``keep``: what is read of the Hub is kept in its cache.  Raises UsageError for an address of no kind qconv knows, or
    when what reads it is not installed, InputError when there is nothing or it cannot be read.
    """
    if text.startswith(SCHEME):
        return open_hub(text.removeprefix(SCHEME), keep=keep)
    if text.startswith(("https://", "http://")):
        return open_web(text)
    if text.startswith(MODELSCOPE):
        return open_modelscope(text.removeprefix(MODELSCOPE))
    return open_other(text)
