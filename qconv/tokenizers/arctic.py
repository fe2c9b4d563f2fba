"""Kind ``arctic``: ``tokenizer.model``, of which the config redefines tokens (llama.cpp: ``ArcticModel.set_vocab``)."""

from __future__ import annotations

from qconv.tokenizers.context import Context
from qconv.tokenizers.sentencepiece import PADDING_SCORE, load
from qconv.tokenizers.special import special_metadata
from qconv.tokenizers.vocabulary import TokenType, Vocabulary, too_large
from qconv.types import Metadata


def make(context: Context) -> Metadata:
    model = load(context, "tokenizer.model")
    size = context.vocab_size or len(model)
    if len(model) > size:
        raise too_large(len(model) - 1, size, model.location)
    vocabulary = Vocabulary(size, PADDING_SCORE)
    vocabulary.fill(model.pieces, model.types, model.scores)
    unknown = context.files.tokenizer_config.get("unk_token")
    for index, token in (context.files.config_added_tokens or {}).items():
        if not 0 <= index < size:
            continue
        if token.special:
            kind = TokenType.UNKNOWN if token.content == unknown else TokenType.CONTROL
            vocabulary.set(index, token.content, kind, 0.0)
        else:
            vocabulary.set(index, token.content, TokenType.USER_DEFINED, PADDING_SCORE)
    return vocabulary.metadata("llama", "default") | special_metadata(context, len(vocabulary))
