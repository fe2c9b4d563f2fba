"""Kind ``qwen_tiktoken``: ``qwen.tiktoken`` of the first Qwen models (llama.cpp: ``_set_vocab_qwen``)."""

from __future__ import annotations

from qconv.tokenizers import tiktoken
from qconv.tokenizers.context import Context
from qconv.tokenizers.special import SpecialTokens
from qconv.tokenizers.tables import tables
from qconv.types import Metadata

END_OF_TEXT = "<|endoftext|>"


def make(context: Context) -> Metadata:
    special, keys = tiktoken.read(context, tables().tiktoken["qwen"])
    tokens = SpecialTokens(context.files)
    if not tokens.ids:
        tokens.set("bos", special[END_OF_TEXT])
        tokens.set("eos", special[END_OF_TEXT])
    tokens.set("unk", special[END_OF_TEXT])
    return keys | tokens.metadata()
