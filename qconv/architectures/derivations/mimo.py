"""MiMo V2: layers with a window, under the config's own key or transformers'."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_head_kv, n_layer
from qconv.architectures.derivations.qwen import n_layer_mtp
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def layer_types_mimo(model: ModelContext) -> list[str]:
    """The first layer and every sixth see everything, the others have a window."""
    layers = range(n_layer(model))
    return ["full_attention" if layer == 0 or (layer + 1) % 6 == 0 else "sliding_attention" for layer in layers]


@derivation
def sliding_layers_mimo(model: ModelContext) -> list[int]:
    """Per layer 1 where it has a window, as those for further tokens all have, else 0."""
    pattern = model.find("hybrid_layer_pattern", "layer_types")
    if not isinstance(pattern, list) or len(pattern) != n_layer(model):
        raise model.lacks(["hybrid_layer_pattern"], pattern, "a number for each layer")
    return [int(kind in (1, "sliding_attention")) for kind in pattern] + [1] * (n_layer_mtp(model) - len(pattern))


@derivation
def head_count_kv_mimo(model: ModelContext) -> list[int]:
    """Heads of keys and values by layer; with a window another number, twice as many where the config names none."""
    full = n_head_kv(model)
    sliding = model.count("swa_num_key_value_heads", default=2 * full)
    return [sliding if limited else full for limited in sliding_layers_mimo(model)]
