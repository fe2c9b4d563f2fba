"""The part of a byte-level BPE model that one text can meet: encoding it takes no quarter of a million merges.

A merge acts on a text only if what it makes stands in the text; so the merges that make something else, and the tokens
that stand nowhere in it, can go, and the text is still cut into the same tokens with the same ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from qconv.tokenizers.files import TokenizerJson
from qconv.tokenizers.steps import steps

_SHORT = 12
"""Letters; the stretches of a text up to here are few enough to be listed, which is quicker than searching it."""

# normalizers that leave the check text as it is
_HARMLESS = ("NFC", "NFD")


def excerpt(
    file: TokenizerJson, text: str, vocab: Mapping[str, int], merges: Iterable[bytes], keep: Iterable[tuple[str, int]]
) -> Mapping[str, Any]:
    """``file.model`` with the tokens and merges (``left right``) that ``text`` can meet; in doubt, all of it.

    ``text`` must be the same in Unicode's composed and decomposed forms.  ``keep``: added tokens, whose ids would
    change with the size of the vocabulary, and so are put into it.
    """
    settings = {key: _small(file.model.get(key)) for key in ("type", "continuing_subword_prefix", "end_of_word_suffix")}
    last = steps(file.pre_tokenizer)[-1:]
    if settings != {"type": "BPE", "continuing_subword_prefix": None, "end_of_word_suffix": None}:
        return file.model
    if last not in (("bytes",), ("gpt2",)) or not _harmless(file.normalizer):
        return file.model
    letters = byte_letters()
    spelled = text.encode().decode("latin-1").translate(letters)
    met = _met(vocab, spelled, space=letters[ord(" ")])
    cuts = ((token[:i], token[i:]) for token in met for i in range(1, len(token)))
    pairs = {f"{left} {right}".encode() for left, right in cuts if left in met and right in met}
    left = [merge.decode() for merge in filter(pairs.__contains__, merges)]
    return {**file.model, "vocab": met | dict(keep), "merges": left}


def _met(vocab: Mapping[str, int], text: str, space: str) -> dict[str, int]:
    """The tokens that stand in ``text``, before any stretch of which a space may be put, and all of one letter."""
    stretches = {text[i : i + n] for n in range(1, _SHORT + 1) for i in range(len(text))}
    stretches |= {space + stretch for stretch in stretches}
    return {
        token: index
        for token, index in vocab.items()
        if token in stretches
        or len(token) == 1
        or (len(token) > _SHORT and (token in text or (token[0] == space and token[1:] in text)))
    }


def byte_letters() -> dict[int, str]:
    """How byte-level BPE spells each byte: printable Latin-1 as itself, the rest as the letters from U+0100 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = (byte for byte in range(256) if byte not in printable)
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def _small(raw: msgspec.Raw | None) -> Any:
    """A setting's value; an empty text is as good as none."""
    return (msgspec.json.decode(raw) or None) if raw else None


def _harmless(step: Mapping[str, Any] | None) -> bool:
    if not step:
        return True
    inner = step.get("normalizers")
    if step.get("type") == "Sequence" and isinstance(inner, list):
        return all(isinstance(one, dict) and _harmless(one) for one in inner)
    return step.get("type") in _HARMLESS
