"""The tokenizer of a merged model: the one the adapter was trained with, if it brings one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qconv.files import read_object
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
_ADDED = ("added_tokens.json", "tokenizer_config.json", "tokenizer.json")
"""Files that say which tokens were added."""
_LONGEST_NUMBER = 10
_BESIDE = (
    *_ADDED,
    "special_tokens_map.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "additional_chat_templates",
)


def with_tokenizer(base: Folder, adapters: Sequence[Folder], rows: int | None) -> tuple[Folder, list[str]]:
    """``base`` named after the adapters too, with the tokenizer files of the last one that has any instead of its own.

    A tokenizer is taken whole or not at all: an adapter's template alone may need tokens the base does not know.  One
    with tokens for which the embedding has no row, of ``rows``, is not taken: training did not use them either.
    Besides, what a user should know of that.
    """
    name = "-".join([base.name, *(folder.name for folder in adapters)])
    own = next((each for each in reversed(adapters) if any(map(each.has, _VOCABULARIES))), None)
    if own is None:
        return LayeredFolder(base, base, (), name), []
    last = max(_added(own), default=-1)
    if rows is not None and last >= rows:
        note = f"the tokenizer is the base's: that of {own.location} has a token {last}, the embedding {rows} rows"
        return LayeredFolder(base, base, (), name), [note]
    note = f"the tokenizer and its chat template are those of {own.location}"
    return LayeredFolder(base, own, (*_VOCABULARIES, *_BESIDE), name), [note]


def _added(folder: Folder) -> Iterator[int]:
    """The numbers of added tokens, in each of the files that may list them."""
    for name in _ADDED:
        if not folder.has(name):
            continue
        file = read_object(folder, name)
        listed, decoder = file.get("added_tokens"), file.get("added_tokens_decoder")
        numbers = [token.get("id") for token in listed if isinstance(token, dict)] if isinstance(listed, list) else []
        if name == "added_tokens.json":
            numbers += file.values()
        yield from (number for number in numbers if isinstance(number, int))
        if isinstance(decoder, dict):
            yield from (int(number) for number in decoder if number.isdecimal() and len(number) < _LONGEST_NUMBER)
