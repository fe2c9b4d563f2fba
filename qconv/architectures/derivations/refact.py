"""Refact."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_embd
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation

_MULTIPLE = 256


@derivation
def feed_forward_refact(model: ModelContext) -> int:
    """Width of the feed-forward part: two thirds of four times the model's, rounded up."""
    return _MULTIPLE * -(-int(2 * 4 * n_embd(model) / 3) // _MULTIPLE)
