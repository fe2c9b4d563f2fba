"""llama.cpp's log, taken so that none of it reaches the user's screen."""

from __future__ import annotations

import ctypes
import sys
from collections import deque

from qconv.runtime.library import LOG_CALLBACK, Library

_ERROR = 4
_CONTINUED = 5
_KEPT = 40


class Log:
    """Takes the log of a library and passes it to standard error, which in the child process is a pipe to its parent.

    Errors are kept, for telling why a call failed.
    """

    def __init__(self, library: Library) -> None:
        self._errors: deque[str] = deque(maxlen=_KEPT)
        self._level = 0
        self._library = library
        self._callback = LOG_CALLBACK(self._take)  # kept: llama.cpp calls it
        library.llama_log_set(ctypes.cast(self._callback, ctypes.c_void_p), None)

    def _take(self, level: int, text: bytes | None, _: int | None) -> None:
        line = (text or b"").decode("utf-8", "replace")
        self._level = self._level if level == _CONTINUED else level
        if self._level == _ERROR:
            self._errors.append(line)
        sys.stderr.write(line)
        sys.stderr.flush()

    def forget(self) -> None:
        self._errors.clear()

    def errors(self) -> str:
        """The errors since ``forget``, on one line."""
        return "; ".join(" ".join(line.split()) for line in "".join(self._errors).splitlines() if line.strip())

    def close(self) -> None:
        """Lets the library write to standard error by itself again, before this process can no longer be called."""
        self._library.llama_log_set(None, None)
