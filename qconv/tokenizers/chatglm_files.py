"""Kind ``chatglm_files``: GLM's vocabularies before transformers knew them (llama.cpp: ``ChatGLMModel.set_vocab``).

ChatGLM 2 and 3 have SentencePiece's ``tokenizer.model``, with tokens behind it that their code names; GLM-4 has
byte-level BPE, as ``tokenizer.json`` or, under the other name, as tiktoken writes it.
"""

from __future__ import annotations

import dataclasses

from qconv.tokenizers import gpt2, tiktoken
from qconv.tokenizers.context import Context
from qconv.tokenizers.sentencepiece import load
from qconv.tokenizers.special import special_metadata
from qconv.tokenizers.tables import tables
from qconv.tokenizers.vocabulary import TokenType, Vocabulary, too_large
from qconv.types import Metadata, Value, ValueType

FILE = "tokenizer.model"
_NAMES = (b"<unk>", b"<bos>", b"<eos>")
_SENTENCEPIECE = b"\x0a"
"""A model's first byte: the field that holds a piece."""


def make(context: Context) -> Metadata:
    if padded := context.config.get("padded_vocab_size"):
        context = dataclasses.replace(context, config={**context.config, "vocab_size": padded})
    if context.files.has("tokenizer.json"):
        return gpt2.make(context)
    if context.files.has(FILE) and not context.files.read(FILE).startswith(_SENTENCEPIECE):
        return _ranks(context)
    return _pieces(context)


def _pieces(context: Context) -> Metadata:
    """The model's pieces, then the tokens of the code, without a score."""
    model = load(context, FILE)
    special = tables().chatglm
    size = context.vocab_size or len(model) + len(special)
    if len(model) > size:
        raise too_large(len(model) - 1, size, model.location)
    vocabulary = Vocabulary(size, padding_score=0.0)
    vocabulary.fill(model.pieces, model.types, model.scores)
    vocabulary.tokens[: len(_NAMES)] = _NAMES
    for index, text in enumerate(special[: size - len(model)], len(model)):
        vocabulary.set(index, text, TokenType.CONTROL)
    return vocabulary.metadata("llama", "chatglm-spm") | special_metadata(context, size)


def _ranks(context: Context) -> Metadata:
    """tiktoken's file, and the added tokens of ``tokenizer_config.json``."""
    location = context.files.locate(FILE)
    ranks = tiktoken.read_ranks(context.files.read(FILE), location)
    special = {token.content: index for index, token in (context.files.config_added_tokens or {}).items()}
    keys = tiktoken.base_vocabulary(context, ranks, special, location).metadata("gpt2", context.pre or "chatglm-bpe")
    keys["tokenizer.ggml.merges"] = Value.array(ValueType.STRING, tiktoken.merges(ranks))
    return keys | special_metadata(context, id_of=special.get)
