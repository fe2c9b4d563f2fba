"""Turns the system's errors into ones that say what could not be done, to which file, and what to do about it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qconv.errors import OutputError

KEPT = "what is done is kept; the same command resumes it"

_HINTS = {
    errno.ENOSPC: f"free some space; {KEPT}",
    errno.EDQUOT: f"free some space; {KEPT}",
    errno.EFBIG: f"raise the file size limit or use --split-max-size; {KEPT}",
    errno.EACCES: "choose another place for the output",
    errno.EROFS: "choose another place for the output",
    errno.ENOENT: "make the directory first",
    errno.EISDIR: "that name is a directory; choose another",
}

_IN_USE = (5, 32)
"""What Windows says where another program has a file open: ERROR_ACCESS_DENIED, as of what is forbidden, and
ERROR_SHARING_VIOLATION."""
_CLOSE = f"close the program that has it open, or choose another place for the output; {KEPT}"


@contextmanager
def os_errors(action: str, path: Path, tensor: str | None = None) -> Iterator[None]:
    """OutputError "cannot be ``action``" in place of the ``OSError`` raised inside."""
    try:
        yield
    except OSError as e:
        in_use = getattr(e, "winerror", None) in _IN_USE
        hint = _CLOSE if in_use else _HINTS.get(e.errno or 0, KEPT)
        raise OutputError(f"cannot be {action}: {e.strerror or e}", file=path, tensor=tensor, hint=hint) from e
