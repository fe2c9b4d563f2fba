"""Kind ``internlm2``: ``tokenizer.model`` and every file's added tokens (llama.cpp: ``InternLM2Model.set_vocab``).

Two things are InternLM's own: a piece that is a zero byte, which the runtime would take for an empty text, becomes a
dragon; and where there is a token that ends a turn, it is the end-of-text token.
"""

from __future__ import annotations

from qconv.tokenizers.context import Context
from qconv.tokenizers.sentencepiece import ADDED_SCORE, PADDING_SCORE, add_all, load
from qconv.tokenizers.special import SpecialTokens
from qconv.tokenizers.vocabulary import TokenType, Vocabulary
from qconv.types import Metadata, Value

END_OF_TURN = "<|im_end|>"


def make(context: Context) -> Metadata:
    model = load(context, "tokenizer.model")
    size = context.vocab_size or len(model)
    added = context.files.added_tokens_json
    vocabulary = Vocabulary(size + len(added), PADDING_SCORE)
    vocabulary.fill(model.pieces[:size], model.types[:size], model.scores[:size])
    for index, piece in enumerate(model.pieces[:size]):
        if piece == b"\0":
            vocabulary.tokens[index] = "🐉".encode()
        elif piece.startswith(b"[UNUSED"):
            vocabulary.types[index] = TokenType.UNUSED
    for index, text in enumerate(added, size):
        vocabulary.set(index, text, TokenType.USER_DEFINED, ADDED_SCORE)
    add_all(context, vocabulary)
    special = SpecialTokens(context.files, len(vocabulary))
    if (end := end_of_turn(context)) is not None:
        special.ids["eos"] = end
    prefix = {"tokenizer.ggml.add_space_prefix": Value.boolean(model.add_dummy_prefix)}
    return vocabulary.metadata("llama", "default") | prefix | special.metadata()


def end_of_turn(context: Context) -> int | None:
    """Id of the token that ends a turn, ``tokenizer.json``'s word before ``tokenizer_config.json``'s."""
    file = context.files.tokenizer_json
    in_file = [(token.id, token) for token in (file.added_tokens or ())] if file else []
    for index, token in [*in_file, *(context.files.config_added_tokens or {}).items()]:
        if token.content == END_OF_TURN:
            return index
    return None
