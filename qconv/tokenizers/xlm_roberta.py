"""Kind ``xlm_roberta``: unigram (llama.cpp: ``XLMRobertaModel.set_vocab``).

From ``sentencepiece.bpe.model``, or failing that from ``tokenizer.json``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from qconv.errors import FormatError, TokenizerError
from qconv.tokenizers.context import Context, NotThisTokenizer
from qconv.tokenizers.files import Pieces
from qconv.tokenizers.huggingface import HfTokenizer
from qconv.tokenizers.sentencepiece import PADDING_SCORE, load
from qconv.tokenizers.sentencepiece_model import UNIGRAM
from qconv.tokenizers.special import special_metadata
from qconv.tokenizers.t5 import charsmap
from qconv.tokenizers.vocabulary import TokenType, Vocabulary
from qconv.tokenizers.wordpiece import token_type_count
from qconv.types import Metadata, Value

# fairseq's first four, which take the place of SentencePiece's own first three
_FIRST = (
    (b"<s>", TokenType.CONTROL),
    (b"<pad>", TokenType.CONTROL),
    (b"</s>", TokenType.CONTROL),
    (b"<unk>", TokenType.UNKNOWN),
)


def make(context: Context, mask: int | None = None) -> Metadata:
    """``mask``: the id of the mask, where the SentencePiece file's row for it is to be that."""
    if context.files.has("sentencepiece.bpe.model"):
        vocabulary, prefix, squeeze, characters = _from_model(context)
        if mask is not None and mask < len(vocabulary):
            vocabulary.set(mask, b"<mask>", TokenType.CONTROL, 0.0)
    elif context.files.has("tokenizer.json"):
        vocabulary, prefix, squeeze, characters = _from_json(context)
    else:
        raise NotThisTokenizer("has no sentencepiece.bpe.model or tokenizer.json", file=context.files.location)
    return (
        vocabulary.metadata("t5", "default")
        | {"tokenizer.ggml.add_space_prefix": Value.boolean(prefix)}
        | {"tokenizer.ggml.token_type_count": token_type_count(context)}
        | {"tokenizer.ggml.remove_extra_whitespaces": Value.boolean(squeeze)}
        | charsmap(characters)
        | special_metadata(context, len(vocabulary))
    )


def _from_model(context: Context) -> tuple[Vocabulary, bool, bool, bytes]:
    model = load(context, "sentencepiece.bpe.model")
    if model.model_type != UNIGRAM:
        raise TokenizerError(f"has model type {model.model_type}, not unigram", file=model.location)
    size = max(context.vocab_size or 0, len(model))
    vocabulary = Vocabulary(size, PADDING_SCORE)
    # everything after the first three moves up by one, and the last falls off
    stop = min(len(model), size - 1)
    for index, (text, type) in enumerate(_FIRST[:size]):
        vocabulary.set(index, text, type, 0.0)
    vocabulary.tokens[4 : stop + 1] = model.pieces[3:stop]
    vocabulary.types[4 : stop + 1] = model.types[3:stop]
    if vocabulary.scores is not None:
        vocabulary.scores[4 : stop + 1] = model.scores[3:stop]
    # a row without a piece keeps the number it had before the move
    for index in range(stop + 1, size):
        vocabulary.tokens[index] = b"[PAD%d]" % (index - 1)
    return vocabulary, model.add_dummy_prefix, model.remove_extra_whitespaces, model.precompiled_charsmap


def _from_json(context: Context) -> tuple[Vocabulary, bool, bool, bytes]:
    location = context.files.locate("tokenizer.json")
    tokenizer = HfTokenizer(context.files, context.config.get("model_type"))
    pieces = context.files.part("vocab", Pieces) or []
    vocabulary = Vocabulary(max(context.vocab_size or 0, len(pieces)), PADDING_SCORE)
    vocabulary.fill([text.encode() for text, _ in pieces], TokenType.NORMAL, [score for _, score in pieces])
    unknown = context.files.part("unk_id", int)
    if (named := tokenizer.config.get("unk_token")) and isinstance(named, str):
        added = {token.content: index for index, token in tokenizer.added.items()}
        unknown = added.get(named, unknown)
    special = {tokenizer.id_of(text) for text in tokenizer.special}
    for index, token in tokenizer.added.items():
        if index < len(pieces):
            type = TokenType.CONTROL if index in special else TokenType.USER_DEFINED
            vocabulary.set(index, token.content, type)
    for marked in special:
        if marked is not None and marked < len(pieces):
            vocabulary.types[marked] = TokenType.CONTROL
    unknown = 3 if unknown is None else unknown
    if 0 <= unknown < len(pieces):
        vocabulary.types[unknown] = TokenType.UNKNOWN
    encoded = next(_maps(context.files.tokenizer_json.normalizer if context.files.tokenizer_json else None), None)
    if encoded is None:
        raise TokenizerError("has no precompiled character map", file=location)
    try:
        characters = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as e:
        raise FormatError(f"precompiled_charsmap is not base64: {e}", file=location) from e
    prefix, squeeze = (
        tokenizer.config.get(key) is True for key in ("add_prefix_space", "clean_up_tokenization_spaces")
    )
    return vocabulary, prefix, squeeze, characters


def _maps(step: Any) -> Iterator[str]:
    match step:
        case {"precompiled_charsmap": str(encoded)}:
            yield encoded
        case {"type": "Sequence", "normalizers": list(inner)}:
            for one in inner:
                yield from _maps(one)
