"""Llama 4 and what shares its habits."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation


@derivation
def llama4_layer_types(model: ModelContext) -> list[str]:
    """Layers without rotation see everything, the others chunks."""
    flags = model.find("no_rope_layers")
    if not isinstance(flags, list) or not flags:
        step = max(1, model.count("no_rope_layer_interval", default=4))
        flags = [(layer + 1) % step != 0 for layer in range(n_layer(model))]
    return ["chunked_attention" if flag else "full_attention" for flag in flags]


@condition
def all_full_attention(model: ModelContext) -> bool:
    kinds = model.find("layer_types")
    return isinstance(kinds, list) and all(kind == "full_attention" for kind in kinds)
