"""Kind ``jina_bert``: what ``tokenizer_config.json`` says it is (llama.cpp: ``JinaBertV2Model.set_vocab``)."""

from __future__ import annotations

from qconv.errors import TokenizerError
from qconv.tokenizers import gpt2, wordpiece
from qconv.tokenizers.context import Context
from qconv.tokenizers.huggingface import HfTokenizer
from qconv.tokenizers.special import special_metadata
from qconv.types import Metadata, Value

_TYPES = 2
"""Kinds of sequence its models tell apart, whatever the config says."""


def make(context: Context) -> Metadata:
    match context.files.tokenizer_config.get("tokenizer_class"):
        case "BertTokenizer" | "BertTokenizerFast":
            return wordpiece.make(context)
        case "RobertaTokenizer" | "RobertaTokenizerFast":
            file = context.files.tokenizer_json
            words = file is not None and (file.pre_tokenizer or {}).get("type") == "Whitespace"
            keys = _words(context) if words else gpt2.make(context)
            return keys | {"tokenizer.ggml.token_type_count": Value.uint32(_TYPES)}
        case other:
            raise TokenizerError(
                f"names the tokenizer class {other!r}, known here are BertTokenizer and RobertaTokenizer",
                file=context.files.locate("tokenizer_config.json"),
            )


def _words(context: Context) -> Metadata:
    """Whole words between spaces; the runtime's own name for that is both model and pre-tokenizer."""
    tokenizer = HfTokenizer(context.files, context.config.get("model_type"))
    vocabulary = gpt2.base_vocabulary(context, tokenizer)
    return vocabulary.metadata("whitespace", "whitespace") | special_metadata(
        context, id_of=tokenizer.id_of, merges=True
    )
