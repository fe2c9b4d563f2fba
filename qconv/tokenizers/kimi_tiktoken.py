"""Kind ``kimi_tiktoken``: byte-level BPE in ``tiktoken.model`` (llama.cpp: ``DeepseekV2Model.set_vocab``)."""

from __future__ import annotations

from qconv.tokenizers import tiktoken
from qconv.tokenizers.context import Context
from qconv.tokenizers.special import SpecialTokens
from qconv.tokenizers.tables import tables
from qconv.types import Metadata, Value


def make(context: Context, *, named_end: bool = False) -> Metadata:
    """``named_end``: the end is the token ``tokenizer_config.json`` names, whatever id the config gives."""
    special, keys = tiktoken.read(context, tables().tiktoken["kimi"])
    keys |= SpecialTokens(context.files).metadata()
    entry = context.files.tokenizer_config.get("eos_token")
    text = entry.get("content") if isinstance(entry, dict) else entry
    if named_end and isinstance(text, str) and text in special:
        keys["tokenizer.ggml.eos_token_id"] = Value.uint32(special[text])
    return keys
