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


@condition
def experts_upright(model: ModelContext) -> bool:
    """Stacked experts lie as matrices do, ``(experts, outputs, inputs)``: the width of the model tells."""
    width = model.count("hidden_size")
    down = model.tensors.get("layers.0.mlp.experts.down_proj")
    up = model.tensors.get("layers.0.mlp.experts.gate_up_proj")
    if down is None or up is None or not len(down.shape) == len(up.shape) == 3:
        return False
    return down.shape[1] == width == up.shape[2]


@condition
def experts_turned(model: ModelContext) -> bool:
    """They lie as ``(experts, inputs, outputs)``."""
    return not experts_upright(model)
