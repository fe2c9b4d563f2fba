"""Kind ``two_ends``: byte-level BPE, and the second token that ends a text (llama.cpp: ``LagunaModel.set_vocab``)."""

from __future__ import annotations

from qconv.tokenizers import gpt2
from qconv.tokenizers.context import Context
from qconv.types import Metadata, Value


def make(context: Context) -> Metadata:
    keys = gpt2.make(context)
    ends, begin = (context.files.model_config.get(f"{name}_token_id") for name in ("eos", "bos"))
    others = [end for end in ends if end != begin] if isinstance(ends, list) else []
    if others and isinstance(others[0], int) and 0 <= others[0] < 1 << 32:
        keys["tokenizer.ggml.eot_token_id"] = Value.uint32(others[0])
    return keys
