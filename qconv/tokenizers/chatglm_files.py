"""Kind ``chatglm_files``: GLM's vocabularies before transformers knew them (llama.cpp: ``ChatGLMModel.set_vocab``).

ChatGLM 2 and 3 have SentencePiece's ``tokenizer.model``, with tokens behind it that their code names; GLM-4 has
byte-level BPE, as ``tokenizer.json`` or, under the other name, as tiktoken writes it.
"""

from __future__ import annotations

import dataclasses

from qconv.files import begins_with
from qconv.tokenizers import gpt2, tiktoken
from qconv.tokenizers.job import Job
from qconv.tokenizers.sentencepiece import load
from qconv.tokenizers.special import special_metadata
from qconv.tokenizers.tables import tables
from qconv.tokenizers.vocabulary import TokenType, Vocabulary, too_large
from qconv.types import Metadata, Value, ValueType

FILE = "tokenizer.model"
_NAMES = (b"<unk>", b"<bos>", b"<eos>")
_SENTENCEPIECE = b"\x0a"
"""A model's first byte: the field that holds a piece."""


def make(job: Job) -> Metadata:
    if padded := job.config.get("padded_vocab_size"):
        job = dataclasses.replace(job, config={**job.config, "vocab_size": padded})
    if job.source.has("tokenizer.json"):
        return gpt2.make(job)
    if job.source.has(FILE) and not begins_with(job.source.path(FILE), _SENTENCEPIECE):
        return _ranks(job)
    return _pieces(job)


def _pieces(job: Job) -> Metadata:
    """The model's pieces, then the tokens of the code, without a score."""
    model = load(job, FILE)
    special = tables().chatglm
    size = job.vocab_size or len(model) + len(special)
    if len(model) > size:
        raise too_large(len(model) - 1, size, model.path)
    vocabulary = Vocabulary(size, padding_score=0.0)
    vocabulary.fill(model.pieces, model.types, model.scores)
    vocabulary.tokens[: len(_NAMES)] = _NAMES
    for index, text in enumerate(special[: size - len(model)], len(model)):
        vocabulary.set(index, text, TokenType.CONTROL)
    return vocabulary.metadata("llama", "chatglm-spm") | special_metadata(job, size)


def _ranks(job: Job) -> Metadata:
    """tiktoken's file, and the added tokens of ``tokenizer_config.json``."""
    path = job.source.path(FILE)
    ranks = tiktoken.read_ranks(path)
    special = {token.content: index for index, token in (job.source.config_added_tokens or {}).items()}
    keys = tiktoken.base_vocabulary(job, ranks, special, path).metadata("gpt2", job.pre or "chatglm-bpe")
    keys["tokenizer.ggml.merges"] = Value.array(ValueType.STRING, tiktoken.merges(ranks))
    return keys | special_metadata(job, id_of=special.get)
