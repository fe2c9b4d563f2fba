"""A vocabulary on its way into a GGUF file: per token its text in UTF-8, a type and perhaps a score."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.errors import TokenizerError
from qconv.tokenizers.context import LARGEST_VOCAB
from qconv.types import Metadata, Value, ValueType


class TokenType(enum.IntEnum):
    """GGUF's token types (ggml's ``docs/gguf.md``); SentencePiece numbers its own the same way."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Vocabulary:
    """``size`` tokens, all unused until set.

    ``padding_score``: what an unused token scores; None when the kind has no scores.
    """

    def __init__(self, size: int, padding_score: float | None = None) -> None:
        if not 0 < size <= LARGEST_VOCAB:
            raise TokenizerError(f"a vocabulary of {size} tokens is outside 1 to {LARGEST_VOCAB}")
        self.tokens: list[bytes | None] = [None] * size
        self.types: NDArray[np.int32] = np.full(size, TokenType.UNUSED, np.int32)
        self.scores: NDArray[np.float32] | None = None
        if padding_score is not None:
            self.scores = np.full(size, padding_score, np.float32)

    def __len__(self) -> int:
        return len(self.tokens)

    def fill(self, tokens: Sequence[bytes], types: Any, scores: Any = None) -> None:
        """Sets the tokens from id 0 on, in one go."""
        self.tokens[: len(tokens)] = tokens
        self.types[: len(tokens)] = types
        if self.scores is not None:
            self.scores[: len(tokens)] = scores

    def set(self, index: int, text: str | bytes, type: TokenType, score: float | None = None) -> None:
        self.tokens[index] = text.encode() if isinstance(text, str) else text
        self.types[index] = type
        if self.scores is not None and score is not None:
            self.scores[index] = score

    def finished(self) -> list[bytes]:
        """The tokens, with a name made up for each that has none."""
        return [b"[PAD%d]" % i if token is None else token for i, token in enumerate(self.tokens)]

    def metadata(self, model: str, pre: str | None) -> Metadata:
        """The keys every kind begins with, in llama.cpp's order."""
        keys: Metadata = {"tokenizer.ggml.model": Value.string(model)}
        if pre is not None:
            keys["tokenizer.ggml.pre"] = Value.string(pre)
        keys["tokenizer.ggml.tokens"] = Value.array(ValueType.STRING, self.finished())
        if self.scores is not None:
            keys["tokenizer.ggml.scores"] = Value.array(ValueType.FLOAT32, self.scores)
        keys["tokenizer.ggml.token_type"] = Value.array(ValueType.INT32, self.types)
        return keys


def looks_special(token: str) -> bool:
    """Whether an added token is a control token by its looks, though its file may say otherwise.

    Known from deepseek-coder, command-r and Gemma, whose files leave some unmarked.
    """
    return (
        token in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (token.startswith("<|") and token.endswith("|>"))
        or (token.startswith("<\uff5c") and token.endswith("\uff5c>"))  # the full-width bar
        or (token.startswith("<unused") and token.endswith(">"))
    )


def too_large(
    index: int, size: int, location: str, *, assumed: bool = False, renamed: Sequence[str] = ()
) -> TokenizerError:
    """The error for a token beyond the embedding's last row.

    ``assumed``: without a ``tokenizer_config.json``, tokens its class knows were added, and this may be one.
    ``renamed``: tokens that files spell differently, each of which counts twice.
    """
    if renamed:
        more = f" ({len(renamed) - 1} more likewise)" if len(renamed) > 1 else ""
        hint = "give it the same text in both, that which the model was trained with"
        return TokenizerError(
            f"{renamed[0]}{more}, which makes more tokens than the embedding's {size} rows", file=location, hint=hint
        )
    doubt = (
        "if tokens were added, the model was not resized for them: model.resize_token_embeddings(len(tokenizer)); "
        "else, are the tokenizer files those of this model?"
    )
    if assumed:
        doubt = "tokenizer_config.json is missing, and tokens were assumed in its place: put the model's own there"
    return TokenizerError(
        f"token id {index} lies beyond the model's {size} rows of embedding",
        file=location,
        hint=f"vocab_size in config.json must exceed every token id; {doubt}",
    )
