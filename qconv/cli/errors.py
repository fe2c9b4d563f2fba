"""How a command ends: errors become one line and an exit code.

0 done, 1 something failed, 2 the command line is wrong, 130 interrupted.  Under ``--json`` an error is an object on
standard output as well: ``{"error": {"code", "message", "file", "tensor", "hint"}}``.  ``--debug`` shows a traceback.
Standard streams that take nothing, because the reader has gone or the disk is full, stop no error from being told.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, TypeVar

from qconv.errors import Interrupted, QconvError, UsageError
from qconv.storage import shown


@dataclass(slots=True)
class ErrorOutput:
    """How errors are told: as JSON objects too, with a traceback."""

    as_json: bool
    debug: bool


P = TypeVar("P", str, Path)


def each(paths: Sequence[P], do: Callable[[P], int | None], output: ErrorOutput) -> int:
    """Does it for every path or address; returns the exit code.

    One that fails does not stop the others, a wrong option does.

    ``do`` returns an exit code too, or nothing when all is well.
    """
    code = 0
    for path in paths:
        try:
            code = do(path) or code
        except (UsageError, Interrupted, BrokenPipeError):
            raise
        except Exception as e:
            if isinstance(e, QconvError) and e.file is None:
                e.file = shown(os.fspath(path))  # which of several it is
            code = report(e, output)
    return code


def report(error: BaseException, output: ErrorOutput) -> int:
    """Says what went wrong; returns the exit code it stands for."""
    known = as_qconv_error(error)
    if output.as_json:
        _say(error_object(known), sys.stdout)
    if output.debug:
        _say("".join(traceback.format_exception(error)).rstrip(), sys.stderr)
    word = "" if isinstance(known, Interrupted) else "error: "
    _say(f"qconv: {word}{known}", sys.stderr)
    return known.exit_code


def as_qconv_error(error: BaseException) -> QconvError:
    """What is not qconv's own error, as one: interruptions, the system's refusals, and defects."""
    if isinstance(error, QconvError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("stopped")
    if isinstance(error, OSError) and error.strerror:
        return QconvError(error.strerror, file=error.filename)
    if isinstance(error, MemoryError):
        return QconvError("out of memory", hint="lower it with --memory or --threads")
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    return QconvError(f"a defect in qconv: {what}", hint="--debug shows where; please report it")


def error_object(error: QconvError) -> str:
    """The JSON text of an error, on one line."""
    parts = {"code": error.code, "message": error.message, "file": error.file, "tensor": error.tensor}
    return json.dumps({"error": {**parts, "hint": error.hint}})


def _say(text: str, stream: TextIO) -> None:
    with suppress(OSError):
        print(text, file=stream, flush=True)
