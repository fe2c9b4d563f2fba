"""Kind ``xverse``: BPE of characters and bytes in ``tokenizer.json`` (llama.cpp: ``XverseModel.set_vocab``)."""

from __future__ import annotations

import re

from qconv.errors import TokenizerError
from qconv.tokenizers.context import Context, NotThisTokenizer
from qconv.tokenizers.huggingface import HfTokenizer
from qconv.tokenizers.special import special_metadata
from qconv.tokenizers.vocabulary import TokenType, Vocabulary, too_large
from qconv.types import Metadata

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_ZERO = "<b'\\x00'>"
"""How a zero byte is written, which the runtime would take for an empty text."""


def make(context: Context) -> Metadata:
    if not context.files.has("tokenizer.json"):
        raise NotThisTokenizer("has no tokenizer.json", file=context.files.location)
    tokenizer = HfTokenizer(context.files, context.config.get("model_type"))
    location = context.files.locate("tokenizer.json")
    texts = {index: text for text, index in tokenizer.vocab.items()}
    texts |= {index: token.content for index, token in tokenizer.added.items()}
    size = context.vocab_size or len(texts)
    if max(texts, default=-1) >= size:
        raise too_large(max(texts), size, location)
    if len(texts) < size:
        raise TokenizerError(f"has {len(texts)} tokens for the model's {size} rows of embedding", file=location)
    vocabulary = Vocabulary(size)
    for index, text in texts.items():
        vocabulary.set(index, _ZERO if text == "\0" else text, _type(text, index, tokenizer))
    return vocabulary.metadata("llama", "default") | special_metadata(context, size)


def _type(text: str, index: int, tokenizer: HfTokenizer) -> TokenType:
    if text == "\0" or _BYTE.fullmatch(text):
        return TokenType.BYTE
    if index not in tokenizer.added:
        return TokenType.NORMAL
    return TokenType.CONTROL if tokenizer.added[index].special else TokenType.USER_DEFINED
