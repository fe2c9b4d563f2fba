"""Layers with experts, and those before them without."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_expert
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation


@derivation
def leading_dense_layers(model: ModelContext) -> int:
    """Layers before the first with experts: by ``mlp_layer_types``, which has a word for each, else by their number."""
    kinds = model.find("mlp_layer_types")
    if isinstance(kinds, list):
        return next((layer for layer, kind in enumerate(kinds) if kind != "dense"), len(kinds))
    return model.count("first_k_dense_replace", "first_last_k_dense_replace", default=0)


@condition
def has_shared_experts(model: ModelContext) -> bool:
    """Whether some experts serve every token."""
    return bool(model.find("num_shared_experts", "n_shared_experts"))


@condition
def has_experts(model: ModelContext) -> bool:
    return n_expert(model) > 0
