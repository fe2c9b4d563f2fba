"""Starts the child process that runs llama.cpp, talks to it, and sees to it that it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import IO, Any, cast

import qconv
from qconv.errors import LlamaCppError
from qconv.runtime.protocol import Array, error_of, receive, send

_KEPT_LINES = 200
_TOLD_LINES = 2
_LONGEST_LINE = 300
_GRACE = 1.0
"""Seconds for the child to end by itself."""


class Child:
    """A child process that answers requests one at a time.

    ``log`` is given every line of llama.cpp's log, from a thread of its own.  Whatever interrupts a request, Ctrl-C
    above all, ends the child: it may be in the middle of minutes of computing.
    """

    def __init__(self, threads: int, log: Callable[[str], None] | None) -> None:
        # -P: modules come from where this process has them, not from the working directory
        command = [sys.executable, "-P", "-m", "qconv.runtime.worker", str(os.getpid()), str(threads)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=_environment(),
        )
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=_drain, args=(self._process.stderr, self._lines, log), daemon=True)
        self._reader.start()
        self._end = weakref.finalize(self, _end, self._process)

    @property
    def alive(self) -> bool:
        """Whether it can still be asked."""
        return self._end.alive

    @property
    def lines(self) -> tuple[str, ...]:
        """The last lines of llama.cpp's log."""
        return tuple(self._lines)

    def call(
        self, name: str, values: dict[str, Any], arrays: Sequence[Array] = ()
    ) -> tuple[dict[str, Any], list[Array]]:
        """Sends a request and waits for its answer: values and arrays.

        Raises what the child raised, or ``LlamaCppError`` with the end of llama.cpp's log when the child has ended.
        """
        if not self.alive:
            raise LlamaCppError("the session is closed")
        with self._lock:
            try:
                send(cast(RawIOBase, self._process.stdin), name, values, arrays)
                message, results = receive(cast(RawIOBase, self._process.stdout))
            except (EOFError, BrokenPipeError) as e:
                raise self._death() from e
            except BaseException:
                self._process.kill()
                self._end()
                raise
        if message.name == "error":
            raise error_of(message.values)
        return message.values, results

    def _death(self) -> LlamaCppError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        code = self._process.returncode
        self._end()
        self._reader.join(_GRACE)
        lines = [" ".join(line.split())[:_LONGEST_LINE] for line in self._lines if line.strip()]
        said = f": {' | '.join(lines[-_TOLD_LINES:])}" if lines else ""
        hint = "not enough memory, perhaps" if code == -getattr(signal, "SIGKILL", 9) else None
        return LlamaCppError(f"llama.cpp's process {_ended(code)}{said}", hint=hint)

    def close(self) -> None:
        self._end()


def _ended(code: int | None) -> str:
    if code is None:
        return "stopped answering"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _environment() -> dict[str, str]:
    paths = [str(Path(qconv.__file__).parents[1]), *(p for p in sys.path if p and Path(p).is_absolute())]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        # the worker has threads of its own, in each of which numpy's BLAS runs alone
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "VECLIB_MAXIMUM_THREADS": "1",
        # threads that wait give their core away: llama.cpp's and numpy's take turns, and others may be at work too
        "OMP_WAIT_POLICY": "PASSIVE",
        # a failed assertion shall end the process at once, not run a debugger for a backtrace
        "GGML_NO_BACKTRACE": "1",
    }


def _drain(stream: IO[bytes], lines: deque[str], log: Callable[[str], None] | None) -> None:
    with BufferedReader(cast(RawIOBase, stream)) as reader:
        for raw in reader:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            lines.append(line)
            if log is not None:
                log(line)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Lets the process end by itself, which it does when nobody asks it anything any more, or ends it."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
