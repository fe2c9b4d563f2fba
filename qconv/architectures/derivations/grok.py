"""Grok."""

from __future__ import annotations

from qconv.architectures.derivations.common import head_dim
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation


@condition
def grok_yarn(model: ModelContext) -> bool:
    """The rotation is scaled by YaRN, which the config also calls original."""
    return model.find("rope_type") in ("yarn", "original")


@derivation
def output_scale_grok(model: ModelContext) -> float:
    """What attention's logits are multiplied by: one over the square root of a head's size where nothing is said."""
    return model.number("attn_output_multiplier", default=head_dim(model) ** -0.5)
