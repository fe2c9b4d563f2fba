"""Kind ``hunyuan``: byte-level BPE, and the token that ends a turn (llama.cpp: ``HunYuanModel.set_vocab``)."""

from __future__ import annotations

from qconv.tokenizers import gpt2
from qconv.tokenizers.context import Context
from qconv.types import Metadata, Value


def make(context: Context) -> Metadata:
    keys = gpt2.make(context)
    # of several tokens that end generation, the first ends a turn
    ends = context.files.object("generation_config.json").get("eos_token_id")
    if isinstance(ends, list) and len(ends) >= 2 and isinstance(ends[0], int) and 0 <= ends[0] < 1 << 32:
        keys["tokenizer.ggml.eot_token_id"] = Value.uint32(ends[0])
    return keys
