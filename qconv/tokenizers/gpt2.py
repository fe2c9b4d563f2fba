"""Kind ``gpt2``: byte-level BPE from ``tokenizer.json`` (llama.cpp: ``TextModel._set_vocab_gpt2``)."""

from __future__ import annotations

from qconv.errors import TokenizerError
from qconv.tokenizers.context import Context
from qconv.tokenizers.huggingface import HfTokenizer
from qconv.tokenizers.pre_tokenizer import is_known, name_of
from qconv.tokenizers.sentencepiece_json import is_sentencepiece
from qconv.tokenizers.special import special_metadata
from qconv.tokenizers.vocabulary import TokenType, Vocabulary, looks_special, too_large
from qconv.types import Metadata


def make(context: Context) -> Metadata:
    tokenizer = HfTokenizer(context.files, context.config.get("model_type"))
    if is_sentencepiece(context) and not is_known(tokenizer):
        raise TokenizerError(
            "holds SentencePiece's BPE, which is converted from tokenizer.model here",
            file=context.files.locate("tokenizer.json"),
            hint="copy tokenizer.model from the base model ('base_model' on the model card) beside the weights",
        )
    pre = name_of(tokenizer, context.pre)
    vocabulary = base_vocabulary(context, tokenizer)
    return vocabulary.metadata("gpt2", pre) | special_metadata(context, id_of=tokenizer.id_of, merges=True)


def base_vocabulary(context: Context, tokenizer: HfTokenizer) -> Vocabulary:
    """All tokens by id, unused where there is none, as long as the config's ``vocab_size``."""
    named = {**{text: index for index, text in ((i, t.content) for i, t in tokenizer.added.items())}}
    size = context.vocab_size or len(tokenizer.vocab.keys() | named.keys())
    highest = max([*tokenizer.vocab.values(), *tokenizer.added], default=-1)
    if highest >= size or min(tokenizer.vocab.values(), default=0) < 0:
        location = context.files.locate("tokenizer.json")
        assumed = not context.files.has("tokenizer_config.json")
        raise too_large(highest, size, location, assumed=assumed, renamed=tokenizer.renamed)
    context.notes.extend(tokenizer.renamed[:1])
    vocabulary = Vocabulary(size)
    tokens, types = vocabulary.tokens, vocabulary.types
    for index, encoded in zip(tokenizer.vocab.values(), map(str.encode, tokenizer.vocab), strict=True):
        tokens[index] = encoded
    types[list(tokenizer.vocab.values())] = TokenType.NORMAL
    for index, token in tokenizer.added.items():
        if context.options.as_marked:
            vocabulary.set(index, token.content, TokenType.CONTROL if token.special else TokenType.USER_DEFINED)
            continue
        # the runtime takes these tokens as normalized already
        text = token.content if token.normalized else tokenizer.as_decoded(token.content)
        if token.special or looks_special(text) or text in context.options.control:
            vocabulary.set(index, text, TokenType.CONTROL)
        else:
            vocabulary.set(index, text.replace("▁", " "), TokenType.USER_DEFINED)
    return vocabulary
