"""Which of the runtime's pre-tokenizers a vocabulary is for: by fingerprint, by structure, or by the user's word."""

from __future__ import annotations

import difflib
import hashlib

from qconv.errors import TokenizerError, UsageError, nearest
from qconv.tokenizers.huggingface import HfTokenizer
from qconv.tokenizers.steps import steps
from qconv.tokenizers.tables import Structure, tables


def name_of(tokenizer: HfTokenizer, said: str | None) -> str:
    """The value of ``tokenizer.ggml.pre``; ``said`` is the user's word for it, which wins.

    Raises ``TokenizerError``, with the nearest known name, when there is none or ``said`` is none.
    """
    if said is not None:
        return check_pre(said)
    known = tables()
    fingerprint = fingerprint_of(tokenizer.encode(known.check_text, special=True))
    if fingerprint in known.fingerprints:
        return known.fingerprints[fingerprint]
    found = steps(tokenizer.file.pre_tokenizer)
    for row in known.structures:
        if row.steps == found:
            return row.name
    matcher = difflib.SequenceMatcher(b="\n".join(found)[:4096], autojunk=False)

    def likeness(row: Structure) -> float:
        matcher.set_seq1("\n".join(row.steps))
        return matcher.ratio()

    closest = max(known.structures, key=likeness)
    raise TokenizerError(
        f"unknown pre-tokenizer (fingerprint {fingerprint[:16]}, steps {'; '.join(found) or 'none'})",
        file=tokenizer.files.locate("tokenizer.json"),
        hint=f"the nearest known is '{closest.name}'; if it is that one, say --pre {closest.name}",
    )


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
