"""GroveMoE."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_expert
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def n_group_grove(model: ModelContext) -> int:
    """Groups of two experts, each with a small expert of its own."""
    return n_expert(model) // 2
