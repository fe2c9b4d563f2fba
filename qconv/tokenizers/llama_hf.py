"""Kind ``llama_hf``: SentencePiece BPE as ``tokenizer.json`` holds it (llama.cpp: ``_set_vocab_llama_hf``)."""

from __future__ import annotations

import re

from qconv.errors import TokenizerError
from qconv.tokenizers.context import Context, NotThisTokenizer
from qconv.tokenizers.huggingface import HfTokenizer
from qconv.tokenizers.special import special_metadata
from qconv.tokenizers.vocabulary import TokenType, Vocabulary, too_large
from qconv.types import Metadata

SCORE = -1000.0
"""Of every token: the file holds no scores, and the merges' order is lost on the runtime."""

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


def make(context: Context) -> Metadata:
    vocabulary = base_vocabulary(context)
    return vocabulary.metadata("llama", "default") | special_metadata(context, len(vocabulary))


def base_vocabulary(context: Context) -> Vocabulary:
    """The model's tokens and the added ones after them.

    Fewer than the config's ``vocab_size`` are padded, since the runtime wants a token for each row of the embedding.
    """
    location = context.files.locate("tokenizer.json")
    file = context.files.tokenizer_json
    if (
        not file
        or context.files.part("type", str) != "BPE"
        or not context.files.part("byte_fallback", bool)
        or (file.decoder or {}).get("type") != "Sequence"
    ):
        raise NotThisTokenizer("holds no SentencePiece BPE", file=location)
    tokenizer = HfTokenizer(context.files, context.config.get("model_type"))
    texts = {index: text for text, index in tokenizer.vocab.items()}
    base = len(tokenizer.vocab)
    later = sorted(index for index in tokenizer.added if index >= base)
    for i in range(base):
        if i not in texts:
            raise TokenizerError(f"token id {i} has no text", file=location)
    count = base + len(later)
    size = context.vocab_size or count
    if count > size:
        assumed = not context.files.has("tokenizer_config.json")
        raise too_large(count - 1, size, location, assumed=assumed, renamed=tokenizer.renamed)
    context.notes.extend(tokenizer.renamed[:1])
    special = set(tokenizer.special)
    vocabulary = Vocabulary(size, SCORE)
    for i in range(base):
        vocabulary.tokens[i] = texts[i].encode()
    vocabulary.types[:base] = TokenType.NORMAL
    for text in special:
        if (index := tokenizer.id_of(text)) is not None and index < base:
            vocabulary.types[index] = TokenType.CONTROL
    for text, index in tokenizer.vocab.items():
        if text.startswith("<0x") and _BYTE.fullmatch(text):
            vocabulary.types[index] = TokenType.BYTE
    for position, index in enumerate(later, base):
        text = tokenizer.added[index].content
        vocabulary.set(position, text, TokenType.CONTROL if text in special else TokenType.USER_DEFINED)
    return vocabulary
