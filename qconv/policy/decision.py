"""What is decided of a tensor, and of all of a file's."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decision:
    """A tensor's block type.

    ``intermediate_type``: the type it has when quantizing begins.  ``wanted``: the type its rows did not fit, ``None``
    when they fit.  ``free``: the mix alone decided it, so that a budget may decide otherwise.
    """

    name: str
    shape: tuple[int, ...]
    intermediate_type: str
    type: str
    reason: str
    wanted: str | None = None
    free: bool = False

    @property
    def weights(self) -> int:
        return math.prod(self.shape)

    @property
    def encodes(self) -> bool:
        """Whether the tensor is encoded anew; otherwise its bytes are copied."""
        return self.type != self.intermediate_type


@dataclass(frozen=True, slots=True)
class Choice:
    """The decisions in the order of the output file, its ``general.file_type``, and what the user should know."""

    decisions: tuple[Decision, ...]
    file_type: int
    notes: tuple[str, ...] = ()

    @property
    def fallbacks(self) -> tuple[Decision, ...]:
        return tuple(d for d in self.decisions if d.wanted is not None)
