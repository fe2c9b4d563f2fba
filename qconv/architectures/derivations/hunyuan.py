"""Hunyuan."""

from __future__ import annotations

from qconv.architectures.derivations.common import head_dim, n_embd, n_head
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def rope_theta_ntk_alpha(model: ModelContext) -> float:
    """The rotary base raised for long contexts, NTK-aware: ``theta * alpha ** (d / (d - 2))``."""
    theta = model.number("rope_parameters.rope_theta", default=10000.0)
    size = head_dim(model)
    return float(theta * model.number("rope_parameters.alpha", default=50) ** (size / (size - 2)))


@derivation
def rope_theta_hunyuan_moe(model: ModelContext) -> float:
    """The same for the model with experts: a thousand where the config names no ``alpha``, and heads by the width."""
    theta = model.number("rope_parameters.rope_theta", default=10000.0)
    size = n_embd(model) // max(1, n_head(model))
    return float(theta * model.number("rope_parameters.alpha", default=1000) ** (size / (size - 2)))
