"""Kind ``llama_hf``: SentencePiece BPE as ``tokenizer.json`` holds it (llama.cpp: ``_set_vocab_llama_hf``)."""

from __future__ import annotations

import re

from qconv.errors import TokenizerError
from qconv.tokenizers.huggingface import HfTokenizer
from qconv.tokenizers.job import Job, OtherKind
from qconv.tokenizers.special import special_metadata
from qconv.tokenizers.vocabulary import TokenType, Vocabulary, too_large
from qconv.types import Metadata

SCORE = -1000.0
"""Of every token: the file holds no scores, and the merges' order is lost on the runtime."""

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


def make(job: Job) -> Metadata:
    vocabulary = base_vocabulary(job)
    return vocabulary.metadata("llama", "default") | special_metadata(job, len(vocabulary))


def base_vocabulary(job: Job) -> Vocabulary:
    """The model's tokens and the added ones after them.

    Fewer than the config's ``vocab_size`` are padded, since the runtime wants a token for each row of the embedding.
    """
    path = job.source.path("tokenizer.json")
    file = job.source.tokenizer_json
    if (
        not file
        or job.source.part("type", str) != "BPE"
        or not job.source.part("byte_fallback", bool)
        or (file.decoder or {}).get("type") != "Sequence"
    ):
        raise OtherKind("holds no SentencePiece BPE", file=path)
    tokenizer = HfTokenizer(job.source, job.config.get("model_type"))
    texts = {index: text for text, index in tokenizer.vocab.items()}
    base = len(tokenizer.vocab)
    later = sorted(index for index in tokenizer.added if index >= base)
    for i in range(base):
        if i not in texts:
            raise TokenizerError(f"token id {i} has no text", file=path)
    count = base + len(later)
    size = job.vocab_size or count
    if count > size:
        raise too_large(count - 1, size, path, assumed=not job.source.has("tokenizer_config.json"))
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
