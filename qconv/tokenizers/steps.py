"""The steps of a ``tokenizer.json``'s pre-tokenizer, in words that compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def steps(step: Mapping[str, Any] | None) -> tuple[str, ...]:
    """A pre-tokenizer's steps in the words of ``formats/tokenizers.toml``."""
    if not step:
        return ()
    match step:
        case {"type": "Sequence", "pretokenizers": list(inner)}:
            return tuple(word for one in inner if isinstance(one, dict) for word in steps(one))
        case {"type": "Split", "pattern": {"Regex": str(expression)}, "behavior": "Isolated", "invert": False}:
            # some files hold line ends as themselves, some escaped; both mean the same
            return ("split " + expression.replace("\r", r"\r").replace("\n", r"\n"),)
        case {"type": "Split", "pattern": {"Regex": str(expression)}, "behavior": "Removed", "invert": True}:
            return ("split " + expression.replace("\r", r"\r").replace("\n", r"\n"),)
        case {"type": "Split"}:
            return (f"split {step.get('pattern')} {step.get('behavior')}",)
        case {"type": "Digits"}:
            return ("digits" if step.get("individual_digits") else "digits together",)
        case {"type": "ByteLevel"}:
            return ("bytes" if step.get("use_regex") is False else "gpt2",)
        case {"type": "Punctuation"}:
            return (f"punctuation {step.get('behavior', 'Isolated')}",)
    return (str(step.get("type")),)
