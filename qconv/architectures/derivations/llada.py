"""LLaDA: its config's own words."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_head
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def head_dim_llada(model: ModelContext) -> int:
    """Size of a head: ``head_dim``, or the model's width shared out among the heads."""
    if model.find("head_dim") is not None:
        return model.count("head_dim")
    return model.count("hidden_size", "d_model") // max(1, n_head(model))
