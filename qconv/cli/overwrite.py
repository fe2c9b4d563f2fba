"""Outputs whose names are taken: by what an earlier command made, or by another source of the same command."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from qconv.errors import OutputError
from qconv.plan import Plan
from qconv.storage import LocalFile

_HINT = "--force makes it anew, and --output gives another place or name"


def take(source: str, plans: Sequence[Plan], directory: Path, taken: dict[Path, str]) -> None:
    """Notes in ``taken`` what is made from ``source``; raises OutputError for what another source is made into."""
    for made in plans:
        path = directory.resolve() / made.files[0].name
        if path in taken:
            hint = "convert them one by one, each to a name or a directory of its own"
            raise OutputError(f"is made from {taken[path]} by this very command", file=path, hint=hint)
        taken[path] = source


def is_made(plan: Plan, directory: Path) -> bool:
    """Whether the plan's files are there, each as large as planned and beginning with the planned header.

    Raises OutputError when something else has the name of one, or only some are there, InputError when one cannot be
    read.
    """
    paths = [directory / file.name for file in plan.files]
    if not any(os.path.lexists(path) for path in paths):
        return False
    for path, file in zip(paths, plan.files, strict=True):
        if not os.path.lexists(path):
            raise OutputError("is missing, though other files of this model are there", file=path, hint=_HINT)
        if not path.is_file() or path.stat().st_size != file.size or not _begins_with(path, file.header):
            raise OutputError("is of another model, of other options, or incomplete", file=path, hint=_HINT)
    return True


def _begins_with(path: Path, header: bytes) -> bool:
    with closing(LocalFile(path)) as file:
        return file.read(len(header), 0) == header
