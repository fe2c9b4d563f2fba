"""Models whose layers have attention or a state space."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_head_kv, n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation
from qconv.errors import PlanError

_ATTENTION = ("attention", "full_attention", "*")


def layer_kinds(model: ModelContext) -> list[str] | None:
    """What the config calls each layer; a string has a letter for each.

    PlanError: it does not name every layer.
    """
    kinds = model.find("layer_types", "hybrid_override_pattern", "layers_block_type")
    if not kinds or not isinstance(kinds, list | str):
        return None
    if len(kinds) != n_layer(model):
        raise PlanError(f"config.json names {len(kinds)} of {n_layer(model)} layers", file=model.location)
    return [str(kind) for kind in kinds]


def has_attention(model: ModelContext) -> list[bool]:
    """Per layer; a config may name the kinds, the layers with attention, or how often they come."""
    layers = range(n_layer(model))
    if (kinds := layer_kinds(model)) is not None:
        return [kind in _ATTENTION for kind in kinds]
    if indices := model.find("attn_layer_indices"):
        return [layer in indices for layer in layers]
    period, offset = model.count("attn_layer_period"), model.count("attn_layer_offset")
    return [layer % max(1, period) == offset for layer in layers]


@derivation
def n_head_kv_by_layer(model: ModelContext) -> list[int]:
    """Heads of keys and values; 0 in layers without attention."""
    heads = n_head_kv(model)
    return [heads if attention else 0 for attention in has_attention(model)]


@condition
def all_attention(model: ModelContext) -> bool:
    """No layer is a state space, and none has experts."""
    return all(has_attention(model)) and not _has_experts(model)


@condition
def all_attention_experts(model: ModelContext) -> bool:
    """No layer is a state space; there are experts."""
    return all(has_attention(model)) and _has_experts(model)


def _has_experts(model: ModelContext) -> bool:
    return bool(model.find("num_experts_per_tok", "num_experts_per_token"))
