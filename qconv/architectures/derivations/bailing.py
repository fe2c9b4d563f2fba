"""Ling and Ring."""

from __future__ import annotations

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation


@derivation
def shared_size_bailing(model: ModelContext) -> int:
    """Width of the shared experts together: their own, or that of so many experts."""
    if model.find("moe_shared_expert_intermediate_size") is not None:
        return model.count("moe_shared_expert_intermediate_size")
    return model.count("moe_intermediate_size") * model.count("num_shared_experts")


@condition
def plain_head(model: ModelContext) -> bool:
    """The output layer is used as it is."""
    return not model.find("norm_head")
