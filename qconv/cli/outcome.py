"""How a command ends: errors become one line and an exit code.

0 done, 1 something failed, 2 the command line is wrong, 130 interrupted.  Under ``--json`` an error is an object on
standard output as well: ``{"error": {"code", "message", "file", "tensor", "hint"}}``.  ``--debug`` shows a traceback.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence

import typer

from qconv.errors import Interrupted, QconvError, UsageError


def run(arguments: Sequence[str]) -> int:
    """Carries out a command line; returns the exit code."""
    from qconv.cli.app import app

    try:
        result = app(args=list(arguments) or ["--help"], prog_name="qconv", standalone_mode=False)
        sys.stdout.flush()
    except typer.Abort:
        return report(Interrupted("stopped"), arguments)
    except typer.TyperException as e:
        return report(UsageError(_sentence(e.format_message()), hint=f"see {_help_of(arguments)}"), arguments)
    except BrokenPipeError:
        return _reader_left()
    except (Exception, KeyboardInterrupt) as e:
        return report(e, arguments)
    return result if isinstance(result, int) else 0


def report(error: BaseException, arguments: Sequence[str] | None = None) -> int:
    """Says what went wrong; returns the exit code it stands for."""
    given = sys.argv[1:] if arguments is None else arguments
    known = as_qconv_error(error)
    try:
        if "--json" in given:
            print(error_object(known), flush=True)
        if "--debug" in given:
            traceback.print_exception(error)
        word = "" if isinstance(known, Interrupted) else "error: "
        print(f"qconv: {word}{known}", file=sys.stderr, flush=True)
    except BrokenPipeError:
        _reader_left()
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


def _sentence(message: str) -> str:
    """Typer's message in the form qconv's own have: one line, no capital, no full stop."""
    line = " ".join(message.replace("Value error, ", "").split()).rstrip(".")  # pydantic's words
    return line[:1].lower() + line[1:]


def _help_of(arguments: Sequence[str]) -> str:
    from qconv.cli.app import commands

    return f"qconv {arguments[0]} --help" if arguments[0] in commands() else "qconv --help"


def _reader_left() -> int:
    """The reader of our output has gone: say nothing more, also not when Python flushes at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    return 1
