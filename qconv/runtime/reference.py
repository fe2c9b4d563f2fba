"""What a model's outputs are compared with: a base model's, handed over chunk by chunk or kept where they were made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qconv.runtime.results import Head

Tokens: TypeAlias = NDArray[np.int32]
Request: TypeAlias = tuple[dict[str, Any], list[NDArray[Any]]]
"""Values and arrays by which the session's process is told where a chunk's outputs are."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What KL divergence is measured from: a text's tokens, and a base model's outputs at every position scored.

    ``chunks``: for each chunk of the text, in order, the base's logits, float32 or float16 ``(positions, vocabulary)``;
    or where ``head`` is given its final hidden states, ``(positions, columns)``.  Any iterable: a generator that reads
    a file chunk by chunk is consumed once, a list can serve again.  ``first``: as in ``Session.logits``.
    """

    tokens: Tokens
    chunks: Iterable[NDArray[Any]]
    head: Head | None = None
    first: int | None = None

    def requests(self) -> Iterator[Request]:
        """One for each chunk, with its outputs."""
        for outputs in self.chunks:
            yield {"key": None, "states": self.head is not None}, [np.asarray(outputs, np.float32)]


@dataclass(frozen=True)
class KeptReference:
    """The same, kept inside a session's process (``Session.keep``); good for that session only."""

    tokens: Tokens
    first: int
    keys: tuple[int, ...]

    def requests(self) -> Iterator[Request]:
        """One for each chunk, with the key its outputs are kept under."""
        for key in self.keys:
            yield {"key": key, "states": False}, []
