"""Paths and addresses given on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

P = TypeVar("P", str, Path)


def whole_models(paths: Sequence[P]) -> list[P]:
    """Paths without those of further shards of a GGUF file that is among them already: any shard stands for all."""
    from qconv import gguf

    models: list[P] = []
    seen: set[tuple[Path, int]] = set()
    for path in paths:
        shard = gguf.shard_of(Path(path))
        if shard is None or (shard[0], shard[2]) not in seen:
            models.append(path)
        if shard is not None:
            seen.add((shard[0], shard[2]))
    return models
