"""The tokenizer of a merged model: the one the adapter was trained with, if it brings one."""

from __future__ import annotations

from collections.abc import Sequence

from qconv.storage import Folder, LayeredFolder

_VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
"""Files of which a tokenizer needs one."""
_BESIDE = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates",
)


def with_tokenizer(base: Folder, adapters: Sequence[Folder]) -> Folder:
    """``base`` named after the adapters too, with the tokenizer files of the last one that has any instead of its own.

    A tokenizer is taken whole or not at all: an adapter's template alone may need tokens the base does not know.
    """
    name = "-".join([base.name, *(folder.name for folder in adapters)])
    own = next((each for each in reversed(adapters) if any(map(each.has, _VOCABULARIES))), None)
    return LayeredFolder(base, own or base, () if own is None else (*_VOCABULARIES, *_BESIDE), name)
