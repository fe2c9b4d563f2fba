"""Kind ``internlm3``: ``tokenizer.model``, a turn's end ending the text (llama.cpp: ``InternLM3Model.set_vocab``)."""

from __future__ import annotations

from qconv.tokenizers.context import Context
from qconv.tokenizers.internlm2 import END_OF_TURN
from qconv.tokenizers.sentencepiece import add_from_config, base_vocabulary, load
from qconv.tokenizers.special import SpecialTokens
from qconv.types import Metadata, Value


def make(context: Context) -> Metadata:
    vocabulary = base_vocabulary(context, load(context, "tokenizer.model"))
    add_from_config(context, vocabulary)
    keys = vocabulary.metadata("llama", "default")
    if isinstance(prefix := context.files.tokenizer_config.get("add_prefix_space"), bool):
        keys["tokenizer.ggml.add_space_prefix"] = Value.boolean(prefix)
    special = SpecialTokens(context.files, len(vocabulary))
    for index, token in (context.files.config_added_tokens or {}).items():
        if token.special and token.content == END_OF_TURN and "eos" in special.ids:
            special.ids["eos"] = index
    return keys | special.metadata()
