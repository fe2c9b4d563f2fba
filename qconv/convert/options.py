"""How a conversion is to be carried out, and what it reports while it runs and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from qconv.errors import UsageError


@dataclass(frozen=True, slots=True)
class Part:
    """One of ``count`` equal shares of a plan's work; ``number`` counts from 1, as in ``--part 3/16``."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count <= 1_000_000:
            raise UsageError(f"there is no part {self.number}/{self.count}", hint="parts count from 1, as in 3/16")

    @classmethod
    def parse(cls, text: str) -> Part:
        """A part from ``NUMBER/COUNT``."""
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and len(text) < 20):
            raise UsageError(f"'{text}' is no part", hint="such as 3/16")
        return cls(int(number), int(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """``threads``: None for the cores this process may use.  ``memory``: bytes the process stays under, None for 400e6.

    ``resume``: go on from what an earlier run left.  ``force``: replace an output that exists.  ``part``: carry out
    only that share, without the renaming at the end.  ``manifest``: write ``NAME.gguf.json`` too, which records
    ``record`` (the options a user gave).
    """

    threads: int | None = None
    memory: int | None = None
    resume: bool = True
    force: bool = False
    part: Part | None = None
    manifest: bool = False
    record: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"{self.threads} threads cannot convert anything", hint="threads count from 1")


@dataclass(frozen=True, slots=True)
class Result:
    """One plan carried out: its files (``.part`` ones when ``complete`` is False: other parts are still to do).

    ``resumed``: bytes of output that an earlier run had made.
    """

    files: tuple[Path, ...]
    complete: bool
    resumed: int
    manifest: Path | None = None


class Progress(Protocol):
    """Told how a conversion goes on.  Bytes are those of the source rows read; called from worker threads."""

    def begin(self, size: int, tensors: int, resumed: int) -> None:
        """``size`` bytes in ``tensors`` tensors in all, ``resumed`` bytes of them done by an earlier run."""

    def advance(self, tensor: str, size: int) -> None:
        """``size`` more bytes of ``tensor`` are done."""

    def finish_tensor(self, tensor: str) -> None:
        """All of ``tensor`` (of this run's share) is done."""

    def note(self, text: str) -> None:
        """Something a person may want to know, such as an old part being discarded."""


class Silent:
    """A progress that shows nothing."""

    def begin(self, size: int, tensors: int, resumed: int) -> None:
        pass

    def advance(self, tensor: str, size: int) -> None:
        pass

    def finish_tensor(self, tensor: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass
