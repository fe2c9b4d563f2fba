"""Kind ``gemma4``: SentencePiece BPE in ``tokenizer.json``, with its merges (llama.cpp: ``Gemma4Model.set_vocab``)."""

from __future__ import annotations

from qconv.tokenizers.context import Context
from qconv.tokenizers.llama_hf import base_vocabulary
from qconv.tokenizers.special import special_metadata
from qconv.tokenizers.vocabulary import TokenType
from qconv.types import Metadata, Value

# what a chat's reader has to see, though the files call them special
_VISIBLE = frozenset(
    (b"<|channel>", b"<channel|>", b"<|tool_call>", b"<tool_call|>", b"<|tool_response>", b"<tool_response|>", b'<|"|>')
)


def make(context: Context) -> Metadata:
    vocabulary = base_vocabulary(context)
    for index, text in enumerate(vocabulary.tokens):
        if text in _VISIBLE:
            vocabulary.types[index] = TokenType.USER_DEFINED
    keys = vocabulary.metadata("gemma4", None) | special_metadata(context, merges=True)
    keys["tokenizer.ggml.add_space_prefix"] = Value.boolean(False)
    keys["tokenizer.ggml.add_bos_token"] = Value.boolean(True)
    return keys
