"""What every kind of tokenizer is given, and the error by which one steps aside for the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qconv.errors import TokenizerError
from qconv.tokenizers.files import TokenizerFiles
from qconv.tokenizers.tables import Options

LARGEST_VOCAB = 1 << 22
"""Tokens; the largest vocabulary known has 901,629."""


class NotThisTokenizer(TokenizerError):
    """The checkpoint does not hold this kind of tokenizer: the next one may be tried."""


@dataclass(frozen=True)
class Context:
    """A checkpoint's files, the model's completed config, options, and the pre-tokenizer name the user gave, if any.

    ``cut_pieces``: pieces of a SentencePiece model that were left out, by id: the embedding has no row for them.
    ``notes``: what else a user should know.
    """

    files: TokenizerFiles
    config: Mapping[str, Any]
    options: Options
    pre: str | None = None
    cut_pieces: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def vocab_size(self) -> int | None:
        """Rows of the embedding according to the config, rounded up where the options ask for it; None: not said."""
        size = self.config.get("vocab_size")
        if size is None:
            return None
        multiple = 1
        if self.options.vocab_multiple is not None:
            multiple = self.config.get("pad_vocab_size_multiple", self.options.vocab_multiple)
        for name, value in (("vocab_size", size), ("pad_vocab_size_multiple", multiple)):
            if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LARGEST_VOCAB:
                raise TokenizerError(
                    f"{name} {value!r} is not a number from 1 to {LARGEST_VOCAB}", file=self.files.locate("config.json")
                )
        return -(-int(size) // int(multiple)) * int(multiple)
