"""Kind ``t5``: a unigram ``tokenizer.model`` or ``spiece.model`` (llama.cpp: ``T5Model.set_vocab``).

Pile-T5 and its like, with BPE in ``tokenizer.model``, are of kind ``sentencepiece``.
"""

from __future__ import annotations

import numpy as np

from qconv.errors import TokenizerError
from qconv.tokenizers import sentencepiece
from qconv.tokenizers.context import Context
from qconv.tokenizers.sentencepiece_model import BPE, UNIGRAM
from qconv.tokenizers.special import special_metadata
from qconv.types import Metadata, Value, ValueType


def make(context: Context) -> Metadata:
    model = sentencepiece.load(context, "tokenizer.model", "spiece.model")
    if model.model_type == BPE:
        return sentencepiece.make(context)
    if model.model_type != UNIGRAM:
        raise TokenizerError(f"has model type {model.model_type}, neither unigram nor BPE", file=model.location)
    vocabulary = sentencepiece.base_vocabulary(context, model, cut=False)
    return (
        vocabulary.metadata("t5", "default")
        | {"tokenizer.ggml.add_space_prefix": Value.boolean(model.add_dummy_prefix)}
        | {"tokenizer.ggml.remove_extra_whitespaces": Value.boolean(model.remove_extra_whitespaces)}
        | charsmap(model.precompiled_charsmap)
        | special_metadata(context, len(vocabulary))
    )


def charsmap(data: bytes) -> Metadata:
    """The normalizer's compiled character map, when there is one."""
    if not data:
        return {}
    return {"tokenizer.ggml.precompiled_charsmap": Value.array(ValueType.UINT8, np.frombuffer(data, np.uint8))}
