"""Kind ``phi3``: ``tokenizer.model`` with the added tokens of every file (llama.cpp: ``Phi3MiniModel.set_vocab``).

Phi-4, of the same architecture, has GPT-2's class and byte-level BPE: another kind.
"""

from __future__ import annotations

from qconv.tokenizers.context import Context, NotThisTokenizer
from qconv.tokenizers.sentencepiece import add_all, base_vocabulary, load
from qconv.tokenizers.special import special_metadata
from qconv.types import Metadata


def make(context: Context) -> Metadata:
    if context.files.tokenizer_config.get("tokenizer_class") == "GPT2Tokenizer":
        raise NotThisTokenizer("is a GPT2Tokenizer", file=context.files.locate("tokenizer_config.json"))
    vocabulary = base_vocabulary(context, load(context, "tokenizer.model"), cut=False)
    add_all(context, vocabulary)
    return vocabulary.metadata("llama", "default") | special_metadata(context, len(vocabulary))
