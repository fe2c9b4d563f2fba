"""Kind ``roberta``: byte-level BPE with token types (llama.cpp: ``RobertaModel.set_vocab``)."""

from __future__ import annotations

from qconv.tokenizers import gpt2
from qconv.tokenizers.context import Context
from qconv.tokenizers.wordpiece import token_type_count
from qconv.types import Metadata


def make(context: Context) -> Metadata:
    return gpt2.make(context) | {"tokenizer.ggml.token_type_count": token_type_count(context)}
