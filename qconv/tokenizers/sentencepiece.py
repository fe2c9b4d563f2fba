"""Kind ``sentencepiece``: ``tokenizer.model`` (llama.cpp: ``TextModel._set_vocab_sentencepiece``)."""

from __future__ import annotations

from collections.abc import Mapping

from qconv.tokenizers.context import Context, NotThisTokenizer
from qconv.tokenizers.files import AddedToken
from qconv.tokenizers.sentencepiece_model import SentencePieceModel
from qconv.tokenizers.special import special_metadata
from qconv.tokenizers.vocabulary import TokenType, Vocabulary, looks_special, too_large
from qconv.types import Metadata

PADDING_SCORE = -10000.0
ADDED_SCORE = -1000.0


def make(context: Context) -> Metadata:
    model = load(context, "tokenizer.model")
    vocabulary = base_vocabulary(context, model)
    add_from_config(context, vocabulary)
    context.notes.extend(context.files.renamed({})[:1])
    return vocabulary.metadata("llama", "default") | special_metadata(context, len(vocabulary))


def load(context: Context, *names: str) -> SentencePieceModel:
    """The first of the files there is; ``NotThisTokenizer`` when there is none."""
    for name in names:
        if context.files.has(name):
            return SentencePieceModel(context.files.read(name), context.files.locate(name))
    raise NotThisTokenizer(
        f"has no {' or '.join(names)}",
        file=context.files.location,
        hint="copy it from the base model beside the weights: transformers 5 saves none",
    )


def base_vocabulary(context: Context, model: SentencePieceModel, *, cut: bool = True) -> Vocabulary:
    """The model's pieces and the tokens of ``added_tokens.json``, padded to the config's ``vocab_size``.

    ``cut``: pieces beyond it are left out; otherwise they are an error.
    """
    size = context.vocab_size or len(model)
    if not cut and len(model) > size:
        raise too_large(len(model) - 1, size, model.location)
    vocabulary = Vocabulary(size, PADDING_SCORE)
    vocabulary.fill(model.pieces[:size], model.types[:size], model.scores[:size])
    context.cut_pieces.update((size + i, piece.decode()) for i, piece in enumerate(model.pieces[size:]))
    for text, index in context.files.added_tokens_json.items():
        if 0 <= index < size:
            vocabulary.set(index, text, TokenType.USER_DEFINED, ADDED_SCORE)
    return vocabulary


def add_from_config(context: Context, vocabulary: Vocabulary) -> None:
    """The added tokens of ``tokenizer_config.json``, but for those beyond the vocabulary."""
    add_tokens(context.files.config_added_tokens or {}, vocabulary)


def add_tokens(added: Mapping[int, AddedToken], vocabulary: Vocabulary) -> None:
    """Added tokens by id, but for those beyond the vocabulary."""
    for index, token in added.items():
        if not 0 <= index < len(vocabulary):
            continue
        if token.special or looks_special(token.content):
            vocabulary.set(index, token.content, TokenType.CONTROL, ADDED_SCORE)
        else:
            # the runtime takes these tokens as normalized already
            vocabulary.set(index, token.content.replace("▁", " "), TokenType.USER_DEFINED, ADDED_SCORE)


def add_all(context: Context, vocabulary: Vocabulary) -> None:
    """The added tokens of ``tokenizer_config.json`` and then ``tokenizer.json``, as they are; all must fit."""
    in_config = context.files.config_added_tokens or {}
    file = context.files.tokenizer_json
    for name, tokens in (
        ("tokenizer_config.json", list(in_config.items())),
        ("tokenizer.json", [(token.id, token) for token in (file.added_tokens or ())] if file else []),
    ):
        for index, token in tokens:
            if not 0 <= index < len(vocabulary):
                raise too_large(index, len(vocabulary), context.files.locate(name))
            vocabulary.set(index, token.content, _plain_type(token), ADDED_SCORE)


def _plain_type(token: AddedToken) -> TokenType:
    return TokenType.CONTROL if token.special else TokenType.USER_DEFINED
