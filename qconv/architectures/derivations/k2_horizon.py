"""K2 Horizon: experts for the feed-forward part, and for values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation, rename


@derivation
def leading_dense_k2_horizon(model: ModelContext) -> int:
    """Layers before the first with experts: ``num_dense_layers``, or as far as ``mlp_only_layers`` lists each."""
    if model.find("num_dense_layers") is not None:
        return model.count("num_dense_layers")
    dense, layer = model.find("mlp_only_layers") or [], 0
    while layer in dense:
        layer += 1
    return layer


@derivation
def shared_size_k2_horizon(model: ModelContext) -> int | None:
    """Width of all shared experts together; none without."""
    shared = model.count("num_shared_experts", default=0) if model.find("num_experts") else 0
    return shared * model.count("moe_intermediate_size") if shared else None


@derivation
def n_value_expert(model: ModelContext) -> int:
    """Experts for values in a layer's attention."""
    return model.count("mova_num_experts", default=0)


@condition
def has_value_experts(model: ModelContext) -> bool:
    return n_value_expert(model) > 0 and model.count("mova_num_experts_per_tok", default=0) > 0


@rename
def router_bias_k2_horizon(name: str, config: Mapping[str, Any]) -> str:
    """What the router's bias is: it chooses experts, and does not weigh them."""
    return name.replace(".mlp.gate.bias", ".mlp.gate.e_score_correction.bias")
