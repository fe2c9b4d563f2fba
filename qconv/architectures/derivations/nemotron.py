"""Nemotron, and Nemotron-H with its layers of Mamba 2, attention, feed-forward or experts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qconv.architectures.derivations.common import n_embd, n_head, n_head_kv, n_layer
from qconv.architectures.derivations.hybrid import has_attention, layer_kinds
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation, rename
from qconv.errors import PlanError

_MTP_MODULES = {"layers.1.norm": "post_attention_layernorm", "layers.1.final_layernorm": "shared_head.norm"}


@derivation
def rope_dimensions_nemotron(model: ModelContext) -> int:
    """The part of the model's width that rotates, shared out among the heads."""
    rotated = int(model.number("rope_parameters.partial_rotary_factor") * n_embd(model))
    return rotated // max(1, n_head(model))


@derivation
def rope_scaling_factor_nemotron(model: ModelContext) -> float | None:
    """The factor of whatever scaling there is; none without one."""
    key = "factor" if model.find("factor") else "rope_parameters.factor"
    return None if model.find(key) is None else model.number(key)


@derivation
def rope_scaling_type_nemotron(model: ModelContext) -> str:
    """Linear wherever there is a factor."""
    return "none" if rope_scaling_factor_nemotron(model) is None else "linear"


@derivation
def n_layer_named(model: ModelContext) -> int:
    """As many layers as the config names."""
    layers = model.find("layers_block_type", "hybrid_override_pattern")
    if not isinstance(layers, list | str):
        raise model.lacks(["num_hidden_layers"])
    return len(layers)


@derivation
def mtp_layers_nemotron(model: ModelContext) -> int | None:
    """Layers for further tokens; none when there are none.  PlanError: more than one, of which nothing is known."""
    count = model.count("num_nextn_predict_layers", default=0) if has_experts_nemotron(model) else 0
    if count > 1:
        raise PlanError(f"{count} layers for further tokens; only one is known how to", file=model.location)
    return count or None


@derivation
def n_layer_nemotron_h(model: ModelContext) -> int:
    """The model's layers and the one for a further token."""
    return n_layer(model) + (mtp_layers_nemotron(model) or 0)


@rename
def mtp_nemotron(name: str, config: Mapping[str, Any]) -> str:
    """The two parts of the layer for a further token, ``mtp.layers.0`` and ``.1``, follow the model's as one."""
    head, _, rest = name.partition(".")
    layers = config.get("num_hidden_layers")
    if head != "mtp" or not rest.startswith(("layers.0.", "layers.1.")) or not isinstance(layers, int):
        return name
    module, _, kind = rest.rpartition(".")
    own = _MTP_MODULES.get(module)
    return f"layers.{layers}." + (f"{own}.{kind}" if own else rest.split(".", 2)[2])


@condition
def has_experts_nemotron(model: ModelContext) -> bool:
    return model.has("num_experts_per_tok")


@derivation
def n_head_kv_nemotron_h(model: ModelContext) -> list[int]:
    """Heads of keys and values by layer; 0 in layers without attention."""
    heads = n_head_kv(model)
    own = [heads if attention else 0 for attention in has_attention(model)]
    return own + [heads] * (mtp_layers_nemotron(model) or 0)


@derivation
def feed_forward_by_layer(model: ModelContext) -> list[int]:
    """Sizes of feed-forward layers, or of experts; 0 in layers of another kind."""
    experts = has_experts_nemotron(model)
    size = model.count(*(("moe_intermediate_size",) if experts else ("intermediate_size", "n_inner", "hidden_dim")))
    wanted = ("E", "moe") if experts else ("-", "mlp")
    own = [size if kind in wanted else 0 for kind in layer_kinds(model) or [""] * n_layer(model)]
    return own + [size] * (mtp_layers_nemotron(model) or 0)
