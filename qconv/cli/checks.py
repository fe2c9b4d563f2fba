"""Options of ``convert`` that need more than Typer's own checks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qconv.errors import UsageError


def split_types(given: Sequence[str]) -> tuple[str, ...]:
    """``["q4_k_m,q8_0", "f16"]`` as single names, each once, in order."""
    names = [name.strip() for text in given for name in text.split(",")]
    return tuple(dict.fromkeys(name for name in names if name))


def check_output(output: Path | None, files: int) -> None:
    """A single file's name cannot be given for several files."""
    if output is not None and files > 1 and output.suffix.lower() == ".gguf" and not output.is_dir():
        raise UsageError(f"--output names one file, but {files} are to be made", file=output, hint="name a directory")
