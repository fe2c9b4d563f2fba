"""Every error a user can meet, one tree.

An error says what is wrong, where (file, tensor, offset) and what to do (hint), on one line.  Names that come from a
file are escaped, so that no control character reaches a terminal.  ``exit_code`` is what the command line exits with,
``code`` the stable word programs match on (``--json``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

_LONGEST_NAME = 200


def printable(text: object, limit: int = _LONGEST_NAME) -> str:
    """``text`` with control and unprintable characters escaped and cut to ``limit`` characters."""
    safe = str(text)[: limit + 1]
    if not safe.isprintable():
        safe = "".join(c if c.isprintable() else _escaped(c) for c in safe)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def nearest(wanted: str, known: Iterable[str], *, most: int | None = None, least_alike: float = 0.0) -> list[str]:
    """``known``, most similar to ``wanted`` first; at most ``most``, none less alike than ``least_alike`` (0 to 1)."""
    from difflib import SequenceMatcher

    alike = {name: SequenceMatcher(None, wanted, name).ratio() for name in known}
    return sorted((n for n in alike if alike[n] >= least_alike), key=lambda name: -alike[name])[:most]


def known_words(wanted: str, known: Iterable[str]) -> str:
    """The hint of an error about a word that is not known: those that are, most similar first."""
    return f"known: {', '.join(nearest(wanted, known))}"


def and_more(names: Sequence[str], shown: int) -> str:
    """The first ``shown`` names, and how many there are besides: ``a, b and 3 more``."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


class QconvError(Exception):
    """Base of every error qconv raises on purpose.

    ``file``, ``tensor`` and ``offset`` say where; ``hint`` says what the user can do.
    """

    exit_code = 1
    code = "error"

    def __init__(
        self,
        message: str,
        *,
        file: str | os.PathLike[str] | None = None,
        tensor: str | None = None,
        offset: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = None if file is None else os.fspath(file)
        self.tensor = tensor
        self.offset = offset
        self.hint = hint

    def __str__(self) -> str:
        where = [] if self.file is None else [printable(self.file, 4096)]
        if self.tensor is not None:
            where.append(f"tensor '{printable(self.tensor)}'")
        if self.offset is not None:
            where.append(f"byte {self.offset}")
        what = printable(self.message, 4000)
        text = f"{', '.join(where)}: {what}" if where else what
        return f"{text} ({printable(self.hint, 2000)})" if self.hint else text


class UsageError(QconvError):
    """The command line or a Python call asks for something that does not exist or does not fit together."""

    exit_code = 2
    code = "usage"


class TableError(QconvError):
    """A table under ``formats/`` or a user's mix file is malformed."""

    code = "table"


class InputError(QconvError):
    """A file or directory given as input is missing, unreadable or of no known kind."""

    code = "input"


class FormatError(InputError):
    """A safetensors, GGUF, JSON or importance-matrix file is truncated, hostile or malformed."""

    code = "format"


class UnsupportedError(InputError):
    """The input is well-formed but of a kind qconv does not convert (architecture, quantization, pickle, ...)."""

    code = "unsupported"


class TokenizerError(InputError):
    """The tokenizer files are missing, malformed or of an unknown pre-tokenizer."""

    code = "tokenizer"


class PlanError(QconvError):
    """Checkpoint, architecture and options do not add up to a complete output."""

    code = "plan"


class WeightError(QconvError):
    """The weights themselves cannot be encoded: NaN, infinity, or off the grid that is to hold them without loss."""

    code = "weights"


class OutputError(QconvError):
    """The output cannot be written: it exists, is locked by another process, or the disk is full or failing."""

    code = "output"


class LlamaCppError(QconvError):
    """llama.cpp is not installed, is a build qconv does not know, or failed while it ran a model."""

    code = "runtime"


class Interrupted(QconvError):
    """Stopped by Ctrl-C; what was done is kept."""

    exit_code = 130
    code = "interrupted"
