"""DFlash: drafters that denoise a block of tokens, given states of the target model."""

from __future__ import annotations

from typing import Any

from qconv.architectures.derivations.common import head_dim, n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation


@derivation
def layers_after_targets(model: ModelContext, key: str = "target_layer_ids") -> list[int]:
    """The target's layers whose inputs are looked at; the config names those whose outputs they are."""
    ids = model.find(key)
    if not isinstance(ids, list) or not all(isinstance(layer, int) for layer in ids):
        raise model.lacks([key], ids, "a list of layers")
    return [layer + 1 for layer in ids]


@derivation
def rotating_part_given(model: ModelContext) -> int | None:
    """Dimensions of a head that rotate, where the config says how many do."""
    share = model.find("rope_parameters.partial_rotary_factor")
    return None if share is None else int(head_dim(model) * model.number("rope_parameters.partial_rotary_factor"))


@derivation
def target_layers_dflash(model: ModelContext) -> list[int] | None:
    """The target's layers whose inputs are looked at; configs name those whose outputs they are, speculators' these."""
    ids = model.find("dflash_config.target_layer_ids", "target_layer_ids")
    direct = model.find("aux_hidden_state_layer_ids")
    if ids is None and direct is not None:
        return [int(layer) for layer in direct]
    return [int(layer) + 1 for layer in ids] if ids else None


def _window(model: ModelContext) -> Any:
    if model.find("use_sliding_window") or model.find("dflash_config.use_swa"):
        return model.find("dflash_config.swa_window_size") or model.find("sliding_window")
    return None


@derivation
def window_dflash(model: ModelContext) -> int | None:
    return _window(model) or None


@derivation
def sliding_layers_dflash(model: ModelContext) -> list[bool] | None:
    """Per layer, whether it has the window: all of them, or as ``layer_types`` says; none without a window."""
    if not _window(model):
        return None
    if model.find("dflash_config.use_swa"):
        return [True] * n_layer(model)
    return [kind == "sliding_attention" for kind in model.find("layer_types") or []]


@derivation
def embedding_scale_dflash(model: ModelContext) -> float | None:
    """What embeddings are multiplied with: the drafter takes the target's, which Gemma scales by its width's root."""
    own = model.find("dflash_config.input_embedding_scale", "input_embedding_scale")
    if own is not None:
        return float(own)
    kind, width = str(model.target.get("model_type", "")), model.target.get("hidden_size")
    return float(width**0.5) if kind.startswith("gemma") and isinstance(width, int) else None


@derivation
def mrope_sections_dflash(model: ModelContext) -> list[int] | None:
    """Where the target's positions have several dimensions, the drafter's have the first of them."""
    rope = model.target.get("rope_parameters") or model.target.get("rope_scaling") or {}
    return [head_dim(model) // 2, 0, 0, 0] if "mrope_section" in rope else None


@derivation
def mixed_dimensions(model: ModelContext) -> int:
    """Rows of a head that rotate by neighbours, where the runtime rotates halves."""
    return head_dim(model) if model.find("rope_is_neox_style") is False else 0


@derivation
def from_anchor_dspark(model: ModelContext) -> bool:
    """Whether the first token is drafted from the last known one; exports in EAGLE-3's manner start after it."""
    said = model.find("sample_from_anchor")
    eagle = model.has("transformer_layer_config") or model.has("aux_hidden_state_layer_ids")
    return not eagle if said is None else bool(said)


@derivation
def has_confidence_head(model: ModelContext) -> bool:
    return any("confidence_head.proj" in name or name.startswith("confidence_proj.") for name in model.tensors)


@condition
def own_output_dflash(model: ModelContext) -> bool:
    """Whether its output layer counts: DSpark's only where it drafts a part of the vocabulary."""
    if not any(name.startswith("markov_head.") for name in model.tensors):
        return True
    whole = model.integer("vocab_size")
    return model.integer("draft_vocab_size", default=whole) != whole
