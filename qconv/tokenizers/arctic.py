"""Kind ``arctic``: ``tokenizer.model``, of which the config redefines tokens (llama.cpp: ``ArcticModel.set_vocab``)."""

from __future__ import annotations

from qconv.tokenizers.job import Job
from qconv.tokenizers.sentencepiece import PADDING_SCORE, load
from qconv.tokenizers.special import special_metadata
from qconv.tokenizers.vocabulary import TokenType, Vocabulary, too_large
from qconv.types import Metadata


def make(job: Job) -> Metadata:
    model = load(job, "tokenizer.model")
    size = job.vocab_size or len(model)
    if len(model) > size:
        raise too_large(len(model) - 1, size, model.path)
    vocabulary = Vocabulary(size, PADDING_SCORE)
    vocabulary.fill(model.pieces, model.types, model.scores)
    unknown = job.source.tokenizer_config.get("unk_token")
    for index, token in (job.source.config_added_tokens or {}).items():
        if not 0 <= index < size:
            continue
        if token.special:
            kind = TokenType.UNKNOWN if token.content == unknown else TokenType.CONTROL
            vocabulary.set(index, token.content, kind, 0.0)
        else:
            vocabulary.set(index, token.content, TokenType.USER_DEFINED, PADDING_SCORE)
    return vocabulary.metadata("llama", "default") | special_metadata(job, len(vocabulary))
