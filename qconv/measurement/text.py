"""Texts a model is run on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qconv.errors import InputError
from qconv.files import refuse_disguise
from qconv.runtime import Session

_LARGEST = 1 << 30


@dataclass(frozen=True, slots=True)
class Text:
    """Files, each without the newline at its end.

    ``names``: the files'.  ``sha256``: hex, of all of them.
    """

    parts: tuple[bytes, ...]
    names: tuple[str, ...]
    sha256: str

    def tokens(self, session: Session, *, special: bool) -> list[NDArray[np.int32]]:
        """Each file's tokens in whole chunks of the session's context.

        Raises InputError when no file fills one.
        """
        tokens = [session.tokenize(part, special=special) for part in self.parts]
        whole = [part[: len(part) - len(part) % session.context] for part in tokens]
        if not any(map(len, whole)):
            raise InputError(
                f"{sum(map(len, tokens))} tokens do not fill a context of {session.context}",
                file=self.names[0],
                hint="give more text, or a smaller --context",
            )
        return [part for part in whole if len(part)]


def first_of_each(parts: Sequence[NDArray[np.int32]], most: int, context: int) -> NDArray[np.int32]:
    """The first tokens of each part, in whole chunks, as many as are its share of ``most``; at least one chunk in all.

    Shares are rounded so that the largest remainders get what is left.
    """
    chunks = [len(part) // context for part in parts]
    total, wanted = sum(chunks), max(1, most // context)
    if total <= wanted:
        return np.concatenate(parts)
    taken = [wanted * count // total for count in chunks]
    by_remainder = sorted(range(len(parts)), key=lambda n: -(wanted * chunks[n] % total))
    for n in by_remainder[: wanted - sum(taken)]:
        taken[n] += 1
    return np.concatenate([part[: count * context] for part, count in zip(parts, taken, strict=True)])


def read_text(files: Sequence[str | os.PathLike[str]]) -> Text:
    """The text in ``files``; raises InputError."""
    parts = []
    for file in files:
        path = Path(file)
        try:
            if path.is_file() and path.stat().st_size > _LARGEST:
                raise InputError(f"is larger than {_LARGEST >> 30} GiB", file=path, hint="a few megabytes are plenty")
            data = path.read_bytes()
        except OSError as e:
            raise InputError(f"cannot be read: {e.strerror}", file=path) from e
        if not data.strip():
            raise InputError("holds no text", file=path)
        refuse_disguise(str(path), data)
        if b"\0" in data[:4096]:
            raise InputError("is not a text: it holds NUL bytes", file=path, hint="plain text in UTF-8 is wanted")
        parts.append(data.removesuffix(b"\n"))
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return Text(tuple(parts), tuple(os.fspath(f) for f in files), digest.hexdigest())
