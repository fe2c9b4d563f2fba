"""Kind ``hunyuan``: byte-level BPE, and the tokens that end text and turn (llama.cpp: ``HunYuanModel.set_vocab``)."""

from __future__ import annotations

from qconv.tokenizers import gpt2, tiktoken
from qconv.tokenizers.context import Context
from qconv.tokenizers.special import SpecialTokens
from qconv.tokenizers.tables import tables
from qconv.types import Metadata, Value

_WIDTH_7B, _BEGIN_7B = 4096, 127_958
_DENSE = "hunyuan_v1_dense"


def make(context: Context) -> Metadata:
    keys = gpt2.make(context) if context.files.has("tokenizer.json") else _from_ranks(context)
    # transformers' config of the dense models does not keep the id, so the converter sees it in the others' only
    end = None if context.config.get("model_type") == _DENSE else context.config.get("eod_token_id")
    if isinstance(end, int) and 0 <= end < 1 << 32:
        keys["tokenizer.ggml.eos_token_id"] = Value.uint32(end)
    # of several tokens that end generation, the first ends a turn
    ends = context.files.object("generation_config.json").get("eos_token_id")
    if isinstance(ends, list) and len(ends) >= 2 and isinstance(ends[0], int) and 0 <= ends[0] < 1 << 32:
        keys["tokenizer.ggml.eot_token_id"] = Value.uint32(ends[0])
    return keys


def _from_ranks(context: Context) -> Metadata:
    """Of the first 7B model, whose config has the id of another vocabulary for the first token."""
    _, keys = tiktoken.read(context, tables().tiktoken["hunyuan-dense"])
    keys |= SpecialTokens(context.files).metadata()
    if context.config.get("hidden_size") == _WIDTH_7B:
        keys["tokenizer.ggml.bos_token_id"] = Value.uint32(_BEGIN_7B)
    return keys
