"""Hunyuan."""

from __future__ import annotations

from qconv.architectures.derivations.common import head_dim
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def rope_theta_ntk_alpha(model: ModelContext) -> float:
    """The rotary base raised for long contexts, NTK-aware: ``theta * alpha ** (d / (d - 2))``."""
    theta = model.number("rope_parameters.rope_theta", default=10000.0)
    size = head_dim(model)
    return float(theta * model.number("rope_parameters.alpha", default=50) ** (size / (size - 2)))
