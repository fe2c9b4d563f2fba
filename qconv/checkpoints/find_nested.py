"""Which folders inside one hold a model, for a user who gave the folder around it."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

_LEVELS = 2
_FOLDERS = 50
_ENTRIES = 200
"""Most folders of a level, and entries of a folder, that are looked at."""


def find_nested(directory: Path) -> list[Path]:
    """The nearest folders with a config or weights: those of the first level that has any, of two.

    A Hugging Face cache keeps them in ``snapshots/HASH``.  Folders that cannot be listed count as empty.
    """
    level = [directory]
    for _ in range(_LEVELS):
        level = sorted(entry for folder in level for entry in _entries(folder) if os.path.isdir(entry))[:_FOLDERS]
        models = [folder for folder in level if any(_of_model(entry.name) for entry in _entries(folder))]
        if models:
            return models
    return []


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry) for entry in islice(entries, _ENTRIES)]
    except OSError:
        return []


def _of_model(name: str) -> bool:
    return name == "config.json" or name.endswith(".safetensors")
