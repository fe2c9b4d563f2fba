"""Kind ``wordpiece``: BERT's vocabulary (llama.cpp: ``BertModel.set_vocab``)."""

from __future__ import annotations

from qconv.tokenizers.context import Context
from qconv.tokenizers.gpt2 import base_vocabulary
from qconv.tokenizers.huggingface import HfTokenizer
from qconv.tokenizers.pre_tokenizer import name_of
from qconv.tokenizers.special import special_metadata
from qconv.tokenizers.vocabulary import TokenType, Vocabulary
from qconv.types import Metadata, Value


def make(context: Context) -> Metadata:
    tokenizer = HfTokenizer(context.files, context.config.get("model_type"))
    pre = name_of(tokenizer, context.pre)
    vocabulary = base_vocabulary(context, tokenizer)
    _mark_word_starts(vocabulary)
    return (
        {"tokenizer.ggml.token_type_count": token_type_count(context)}
        | vocabulary.metadata("bert", pre)
        | special_metadata(context, len(vocabulary), tokenizer.id_of)
    )


def token_type_count(context: Context) -> Value:
    """How many kinds of sequence the model tells apart."""
    count = context.config.get("type_vocab_size", 1)
    return Value.uint32(count if isinstance(count, int) and 0 <= count < 1 << 32 else 1)


def _mark_word_starts(vocabulary: Vocabulary) -> None:
    """From BERT's spelling, where "##" marks a word's later pieces, to SentencePiece's, where "▁" marks its first."""
    mark = "▁".encode()
    control = (vocabulary.types == TokenType.CONTROL).tolist()
    vocabulary.tokens = [
        text if kept else text[2:] if text.startswith(b"##") else mark + text
        for text, kept in zip(vocabulary.finished(), control, strict=True)
    ]
