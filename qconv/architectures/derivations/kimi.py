"""Kimi Linear: which layers have which attention."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def latent_layers(model: ModelContext) -> list[int]:
    """Heads of keys, layer by layer: one with latent attention, none with delta attention; layers count from one."""
    key = "linear_attn_config.full_attn_layers"
    latent = model.find(key)
    if not isinstance(latent, list):
        raise model.lacks([key], latent, "a list")
    return [int(layer + 1 in latent) for layer in range(n_layer(model))]
