"""MiniMax M2."""

from __future__ import annotations

from qconv.architectures.derivations.common import head_dim
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def rope_dimensions_minimax(model: ModelContext) -> int:
    """``rotary_dim``; transformers 5 gives the part of a head instead."""
    if model.find("rotary_dim") is not None:
        return model.count("rotary_dim")
    return int(model.number("rope_parameters.partial_rotary_factor", default=1.0) * head_dim(model))
