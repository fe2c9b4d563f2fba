"""Mistral's own format, whose params.json has other words."""

from __future__ import annotations

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation


@condition
def has_scaled_attention(model: ModelContext) -> bool:
    """Whether attention grows with the position, as in Llama 4: another architecture to the runtime."""
    return model.find("llama_4_scaling") is not None


@condition
def has_yarn(model: ModelContext) -> bool:
    return model.find("yarn") is not None


@derivation
def yarn_log_multiplier_of_params(model: ModelContext) -> float | None:
    """Whether YaRN's growth of attention by the context's logarithm is undone: 1, unless it is to be applied."""
    return None if model.find("yarn") is None else 1.0 - float(bool(model.find("yarn.apply_scale")))
