"""The command line: one file per command, and what the screen shows."""

import gc
import os
import sys
from contextlib import suppress
from typing import NoReturn


def main() -> None:
    """Entry point of the ``qconv`` command."""
    # a vocabulary is half a million objects, none of them garbage: look for it a hundred times less often
    gc.set_threshold(70_000)
    try:
        _prepare_streams()
        from qconv.cli.run import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # pressed before anything began
        code = 130
    _leave(code)


def _leave(code: int) -> NoReturn:
    """Ends the process at once.

    Taking apart what planning built would cost a fifth of a second, and a thread that hangs in a read would be waited
    for.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _prepare_streams() -> None:
    """Makes sure that printing cannot fail: streams that are closed swallow everything, paths come out as they are."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # open as long as the process
    for stream in (sys.stdout, sys.stderr):
        if os.name == "nt":  # whose pipes and files have an older encoding by default
            stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # as below
        utf8 = stream.encoding.lower().replace("-", "") == "utf8"
        errors = "surrogateescape" if utf8 and stream is sys.stdout else "backslashreplace"
        stream.reconfigure(errors=errors)  # type: ignore[union-attr]  # what Python and the lines above put there has it
