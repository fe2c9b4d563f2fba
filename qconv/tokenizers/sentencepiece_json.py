"""Kind ``sentencepiece_json``: what ``tokenizer.model`` would give, from ``tokenizer.json`` alone.

transformers 5 saves no ``tokenizer.model``, which llama.cpp's converter needs for Gemma.  ``tokenizer.json`` holds no
scores, but these say no more than the order in which pieces are merged, and that it holds: SentencePiece numbers pieces
in that order and gives number ``n`` the score ``-n``.
"""

from __future__ import annotations

import re

from qconv.tokenizers.context import Context, NotThisTokenizer
from qconv.tokenizers.files import AddedToken, TokenizerJson
from qconv.tokenizers.sentencepiece import PADDING_SCORE, add_tokens
from qconv.tokenizers.special import special_metadata
from qconv.tokenizers.steps import steps
from qconv.tokenizers.vocabulary import TokenType, Vocabulary, too_large
from qconv.types import Metadata

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_BYTE_LEVEL = ("bytes", "gpt2")


def make(context: Context) -> Metadata:
    location = context.files.locate("tokenizer.json")
    file = context.files.tokenizer_json
    if file is None or not is_sentencepiece(context):
        raise NotThisTokenizer(
            "has no tokenizer.model, nor its vocabulary in tokenizer.json",
            file=context.files.location,
            hint="copy tokenizer.model from the base model beside the weights",
        )
    pieces = context.files.part("vocab", dict[str, int]) or {}
    highest = max(pieces.values(), default=-1)
    size = context.vocab_size or highest + 1
    if min(pieces.values(), default=0) < 0:
        raise too_large(min(pieces.values()), size, location)
    vocabulary = Vocabulary(size, PADDING_SCORE)
    added = _added(context, file)
    scores = _scores(context, pieces, {token.content for token in added.values()})
    unknown = context.files.part("unk_token", str)
    for text, index in pieces.items():
        if index >= size:
            context.cut_pieces[index] = text
            continue
        type = TokenType.BYTE if _BYTE.fullmatch(text) else TokenType.NORMAL
        vocabulary.set(index, text, TokenType.UNKNOWN if text == unknown else type, scores[text])
    add_tokens(added, vocabulary)
    return vocabulary.metadata("llama", "default") | special_metadata(context, len(vocabulary))


def is_sentencepiece(context: Context) -> bool:
    """Whether ``tokenizer.json`` holds BPE over characters with bytes to fall back on, and not over bytes."""
    file = context.files.tokenizer_json
    return (
        file is not None
        and context.files.part("type", str) == "BPE"
        and bool(context.files.part("byte_fallback", bool))
        and not set(steps(file.pre_tokenizer)) & set(_BYTE_LEVEL)
    )


def _added(context: Context, file: TokenizerJson) -> dict[int, AddedToken]:
    """Added tokens by id; ``tokenizer_config.json``'s word counts, which transformers 5 leaves out of it."""
    return {token.id: token for token in file.added_tokens or ()} | (context.files.config_added_tokens or {})


def _scores(context: Context, pieces: dict[str, int], added: set[str]) -> dict[str, float]:
    """0 for what is never merged, such as bytes; else the higher the earlier a piece is merged."""
    rank: dict[str, int] = {}
    for merge in context.files.part("merges", list[str | tuple[str, str]]) or ():
        left, right = merge.split(" ", 1) if isinstance(merge, str) and " " in merge else (merge[0], merge[-1])
        rank.setdefault(left + right, len(rank))
    merged = sorted((text for text in rank if text in pieces and text not in added), key=rank.__getitem__)
    numbers = [pieces[text] for text in merged]
    if numbers == sorted(numbers):
        return {
            text: 0.0 if text in added or _BYTE.fullmatch(text) else -float(index) for text, index in pieces.items()
        }
    place = {text: -float(number) for number, text in enumerate(merged)}
    return {text: place.get(text, -float(len(merged))) for text in pieces}
