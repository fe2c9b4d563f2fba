"""How a conversion is run."""

from __future__ import annotations

from dataclasses import dataclass

from qconv.errors import UsageError
from qconv.options.base import OUTPUT, PARTS, RUN, Options, option


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
            raise UsageError(f"'{text}' is not a part", hint="such as 3/16")
        return cls(int(number), int(count))


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """How a conversion is run: none of these changes a byte of what is made.

    ``threads``: None for the cores this process may use.  ``memory``: bytes the process stays under, None for 400e6.
    ``resume``: go on from what an earlier run left.  ``force``: replace an output that exists.  ``part``: only that
    share of the work, without the renaming at the end.  ``manifest``: write ``NAME.gguf.json`` too.  ``keep_download``:
    files of the Hugging Face Hub go into its cache.

    Raises UsageError.
    """

    force: bool = option(False, "flag", OUTPUT, "Replace a file that exists.", "--force")
    manifest: bool = option(
        False,
        "flag",
        OUTPUT,
        "Also write NAME.gguf.json: sources, options, and each tensor's origin, type and SHA-256.",
        "--manifest",
    )
    keep_download: bool = option(
        False,
        "flag",
        RUN,
        "Download what is read of the Hugging Face Hub into its cache, and keep it.",
        "--keep-download",
    )
    threads: int | None = option(
        None, "count", RUN, "By default all cores this process may use.", "--threads", metavar="N"
    )
    memory: int | None = option(
        None, "size", RUN, "Stay under this much memory. By default 400MB.", "--memory", metavar="SIZE"
    )
    resume: bool = option(
        True, "negated", RUN, "Start afresh instead of going on where an earlier run stopped.", "--no-resume"
    )
    part: Part | None = option(
        None, "part", PARTS, "Do the I-th of N parts of the work, then stop.", "--part", metavar="I/N"
    )

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"{self.threads} threads cannot convert anything", hint="threads count from 1")
        if self.memory is not None and self.memory < 1:
            raise UsageError(f"{self.memory} bytes of memory hold nothing", hint="such as 400MB")
