"""Which of the runtime's pre-tokenizers a vocabulary is for: by fingerprint, by structure, or by the user's word."""

from __future__ import annotations

import difflib
import hashlib

from qconv.errors import TokenizerError, UsageError, nearest
from qconv.tokenizers.huggingface import HfTokenizer
from qconv.tokenizers.steps import steps
from qconv.tokenizers.tables import Structure, tables

_LEAST_ALIKE = 0.8
"""Of 1; below it a guess would lead astray."""


def name_of(tokenizer: HfTokenizer, said: str | None) -> str:
    """The value of ``tokenizer.ggml.pre``; ``said`` is the user's word for it, which wins.

    Raises ``TokenizerError`` when there is none, with the nearest known name if one is near, and UsageError when
    ``said`` is none.
    """
    if said is not None:
        return check_pre(said)
    known = tables()
    fingerprint = fingerprint_of(tokenizer.encode(known.check_text, special=True))
    if fingerprint in known.fingerprints:
        return known.fingerprints[fingerprint]
    own_steps = steps(tokenizer.file.pre_tokenizer)
    for row in known.structures:
        if row.steps == own_steps:
            return row.name
    raise TokenizerError(
        f"unknown pre-tokenizer (fingerprint {fingerprint[:16]}, steps {'; '.join(own_steps) or 'none'})",
        file=tokenizer.files.locate("tokenizer.json"),
        hint=_near(own_steps) or "no known one is like it: if the base model's tokenizer files convert, use those",
    )


def _near(own_steps: tuple[str, ...]) -> str | None:
    """The hint that names the pre-tokenizer with nearly the same steps; None when none is like them."""
    matcher = difflib.SequenceMatcher(b="\n".join(own_steps)[:4096], autojunk=False)

    def likeness(row: Structure) -> float:
        matcher.set_seq1("\n".join(row.steps))
        return matcher.ratio()

    names = set(tables().names)
    alike = [row for row in tables().structures if row.name in names and row.steps[-1:] == own_steps[-1:]]
    closest = max(alike, key=likeness, default=None)
    if closest is None or likeness(closest) < _LEAST_ALIKE:
        return None
    return f"the nearest known is '{closest.name}'; if it is that one, say --pre {closest.name}"


def is_known(tokenizer: HfTokenizer) -> bool:
    """Whether a fingerprint leads to the pre-tokenizer's name."""
    known = tables()
    return fingerprint_of(tokenizer.encode(known.check_text, special=True)) in known.fingerprints


def check_pre(name: str) -> str:
    """``name``, if the runtime knows a pre-tokenizer by it; else UsageError with the nearest it knows."""
    names = tables().names
    if name not in names:
        near = nearest(name, names, most=3)
        raise UsageError(f"no pre-tokenizer is called '{name}'", hint=f"nearest: {', '.join(near)}")
    return name


def fingerprint_of(ids: list[int]) -> str:
    """SHA-256 of the ids written as a Python list."""
    return hashlib.sha256(str(ids).encode()).hexdigest()
