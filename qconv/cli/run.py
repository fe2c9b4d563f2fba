"""Runs a command line from its words to its exit code."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from qconv.cli.app import COMMANDS, make_app
from qconv.cli.errors import ErrorOutput, report
from qconv.cli.screen import flush
from qconv.errors import Interrupted, UsageError


def run(arguments: Sequence[str]) -> int:
    """Carries out a command line; returns the exit code."""
    output = ErrorOutput(
        "--json" in arguments, "--debug" in arguments
    )  # a guess, until the command has read its options
    app = make_app(arguments[0] if arguments else None)
    try:
        result = app(args=list(arguments) or ["--help"], prog_name="qconv", standalone_mode=False, obj=output)
        flush()
    except typer.Abort:
        return report(Interrupted("stopped"), output)
    except typer.TyperException as e:
        return report(UsageError(_sentence(e.format_message()), hint=f"see {_help_of(arguments)}"), output)
    except BrokenPipeError:
        return 1
    except (Exception, KeyboardInterrupt) as e:
        return report(e, output)
    return result if isinstance(result, int) else 0


def _sentence(message: str) -> str:
    """Typer's message in the form qconv's own have: one line, no capital, no full stop."""
    line = " ".join(message.replace("Value error, ", "").split()).rstrip(".")  # pydantic's words
    return line[:1].lower() + line[1:]


def _help_of(arguments: Sequence[str]) -> str:
    return f"qconv {arguments[0]} --help" if arguments[0] in COMMANDS else "qconv --help"
