"""What verifying found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a file, or with a tensor in it."""

    file: Path
    tensor: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """``size``: bytes of tensors looked at.  ``manifest``: the one that was checked against, if there was one."""

    files: tuple[Path, ...]
    tensors: int
    size: int
    problems: tuple[Problem, ...]
    manifest: Path | None = None

    @property
    def ok(self) -> bool:
        return not self.problems
