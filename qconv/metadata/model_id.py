"""What a model's id says: ``Qwen/Qwen2.5-7B-Instruct-1M`` → organization, base name, size, fine-tune, version.

The guesses are those of llama.cpp's converter (``gguf-py/gguf/metadata.py``), because files are named by them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["basename", "size", "finetune", "version", "type"]

_LONGEST_ID = 1000
_VERSION = re.compile(r"(v|iter)?\d+([.]\d+)*", re.IGNORECASE)
_ENCODING = re.compile(r"i?q\d(_\w)*|b?fp?(16|32)", re.IGNORECASE)
_SIZE = re.compile(r"((A|\d+x)?\d+([._]\d+)?[KMBT]\d?|small|mini|medium|large|x?xl)", re.IGNORECASE)
_FINETUNE = re.compile(r"chat|instruct|vision|lora", re.IGNORECASE)
_UNTITLED = re.compile(r"v\d+(\.\d+)*|\d.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ModelId:
    """The parts of a model's id; ``None`` for what it does not say."""

    name: str | None = None
    organization: str | None = None
    basename: str | None = None
    finetune: str | None = None
    version: str | None = None
    size_label: str | None = None


@dataclass(slots=True)
class _Part:
    """A piece between hyphens, and what it may be."""

    text: str
    kinds: set[Kind] = field(default_factory=set)


def parse(model_id: str, weights: int = 0) -> ModelId:
    """The parts of ``organization/name`` or ``name``.

    ``weights``: how many the model has; a size far from it is taken for a context length (0: unknown).  Negative: as
    many belong to a part of it, as those an adapter changes.
    """
    model_id = model_id[:_LONGEST_ID]
    if " " in model_id:
        return ModelId(name=model_id)  # a name for people
    organization, slash, name = model_id.partition("/") if "/" in model_id else ("", "", model_id)
    parts = [_Part(text) for text in name.split("-") if text]
    for at, part in enumerate(parts):
        _classify(part, at == 0, weights)
    _drop_word_sizes(parts)
    _find_basename(parts)

    def joined(kind: Kind) -> str | None:
        return "-".join(p.text for p in parts if kind in p.kinds) or None

    version = "-".join(p.text for p in parts if "version" in p.kinds and "basename" not in p.kinds) or None
    size = "-".join(dict.fromkeys(p.text for p in parts if "size" in p.kinds)) or None
    finetune = joined("finetune")
    known = size is not None or finetune is not None or version is not None
    return ModelId(
        name=name,
        organization=organization if slash and not organization.startswith(".") else None,
        basename=joined("basename") if known else None,
        finetune=finetune,
        version=version,
        size_label=size,
    )


def title(text: str) -> str:
    """``meta-llama`` → ``Meta Llama``; words with capitals, versions and numbers stay."""
    words = text.strip().replace("-", " ").split()
    return " ".join(w.title() if w.islower() and not _UNTITLED.fullmatch(w) else w for w in words)


def _classify(part: _Part, first: bool, weights: int) -> None:
    if _VERSION.fullmatch(part.text):
        part.kinds.add("version")
    elif _ENCODING.fullmatch(part.text):
        part.kinds.add("type")
        part.text = part.text.upper()
    elif first:
        return
    elif _SIZE.fullmatch(part.text):
        part.text = _normal_size(part.text)
        if _is_context_length(part.text, weights):
            part.kinds.add("finetune")
            part.text = part.text[:-1] + part.text[-1].lower()
        else:
            part.kinds.add("size")
    elif _FINETUNE.fullmatch(part.text):
        is_redundant = weights < 0 and part.text.lower() == "lora"  # the file's name ends in it
        part.kinds.add("type" if is_redundant else "finetune")


def _normal_size(text: str) -> str:
    """``7b1`` → ``7.1B``, ``1_5b`` → ``1.5B``."""
    text = text.replace("_", ".")
    if text[-1].isdecimal():
        text = f"{text[:-2]}.{text[-1]}{text[-2]}"
    if len(text) > 1 and text[-2].isdecimal() and text[-1] in "kmbt":
        text = text[:-1] + text[-1].upper()
    return text


def _is_context_length(text: str, weights: int) -> bool:
    """Whether the number is further than 7/8 of the model's weights away from them, or less than 1/8 of a part's."""
    if not weights:
        return False
    try:
        said = float(text[:-1]) * 1000.0 ** " KMBT".find(text[-1])
    except ValueError:  # a word, or a count of experts in front
        return False
    return said < -weights // 8 if weights < 0 else abs(said - weights) > 7 * weights // 8


def _drop_word_sizes(parts: list[_Part]) -> None:
    """Where a number gives the size, ``small`` or ``xl`` is not a size."""
    sizes = [p for p in parts if "size" in p.kinds]
    if any(c.isdecimal() for p in sizes for c in p.text):
        for p in sizes:
            if p.text.isalpha():
                p.kinds.discard("size")


def _find_basename(parts: list[_Part]) -> None:
    """The base name is the words and versions in front, without the versions it ends in; other words are fine-tunes."""
    at_start = True
    for p in parts:
        if at_start and ((not p.kinds and p.text[0].isalpha()) or "version" in p.kinds):
            p.kinds.add("basename")
        else:
            at_start = False
            if not p.kinds:
                p.kinds.add("finetune")
    for p in reversed(parts):
        if "basename" not in p.kinds or len(p.kinds) == 1:
            break
        p.kinds.discard("basename")
