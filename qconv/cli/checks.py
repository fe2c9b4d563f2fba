"""Arguments that need more than Typer's own checks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from qconv.errors import UsageError


def split_types(given: Sequence[str]) -> tuple[str, ...]:
    """``["q4_k_m,q8_0", "f16"]`` as single names, each once, in order."""
    names = [name.strip() for text in given for name in text.split(",")]
    return tuple(dict.fromkeys(name for name in names if name))


def whole_models(paths: Sequence[Path]) -> list[Path]:
    """Paths without those of further shards of a GGUF file that is among them already: any shard stands for all."""
    from qconv import gguf

    found: list[Path] = []
    seen: set[tuple[Path, int]] = set()
    for path in paths:
        shard = gguf.shard_of(path)
        if shard is None or (shard[0], shard[2]) not in seen:
            found.append(path)
        if shard is not None:
            seen.add((shard[0], shard[2]))
    return found


def output_path(given: str | None, files: int) -> Path | None:
    """Where to write; ``given`` must be a directory when it ends in a slash or several files are to be made."""
    if given is None:
        return None
    path = Path(given)
    if path.is_dir():
        return path
    if files > 1 and path.suffix.lower() == ".gguf":
        raise UsageError(f"--output names one file, but {files} are to be made", file=path, hint="name a directory")
    if files > 1 or given.endswith(("/", os.sep)):
        raise UsageError("--output: is no directory", file=path, hint="make it first, with mkdir -p")
    return path
