"""Small text files that commands write: none is replaced unless it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

from qconv.errors import OutputError

STDOUT = "-"


def write(text: str, path: Path, *, force: bool) -> None:
    """Writes it whole and prints the path; ``-`` prints the text.

    Raises OutputError when something has the name, unless ``force``, or it cannot be written.
    """
    from qconv.cli import screen

    if str(path) == STDOUT:
        screen.result(text.rstrip("\n"))
        return
    if os.path.lexists(path) and (not force or not path.is_file()):
        raise OutputError("exists already", file=path, hint="--force replaces it, and --output names another")
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8", errors="replace", newline="\n")
        os.replace(part, path)
    except OSError as e:
        raise OutputError(f"cannot be written: {e.strerror}", file=path) from e
    screen.result(str(path))
