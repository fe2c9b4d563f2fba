"""Ling 3: which layers have which attention, and what its multimodal config says of positions."""

from __future__ import annotations

from qconv.architectures.derivations.common import block_count, n_layer
from qconv.architectures.derivations.glm import n_layer_nextn
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation


@derivation
def latent_layers_ling(model: ModelContext) -> list[int]:
    """Heads of keys, layer by layer: one with latent attention, none with delta attention.

    Latent is the last of every ``layer_group_size`` layers, what is behind the last whole group, and layers for
    further tokens.
    """
    layers, size = n_layer(model), max(1, model.count("layer_group_size"))
    whole = layers // size * size
    return [int(i >= whole or (i + 1) % size == 0) for i in range(n_layer_nextn(model))]


@condition
def low_rank_queries(model: ModelContext) -> bool:
    return model.find("q_lora_rank") is not None


@derivation
def limits_in_each_layer(model: ModelContext, key: str) -> list[float] | None:
    """The list under ``key``, null and what it lacks as zero; none without it."""
    limits = model.find(key)
    if limits is None:
        return None
    count = block_count(model)
    given = [0.0 if limit is None else float(limit) for limit in limits[:count]]
    return given + [0.0] * (count - len(given))


@derivation
def mrope_sections_ling(model: ModelContext) -> list[int] | None:
    """Dimensions that turn with time, height and width, which the multimodal config has; a spare one."""
    sections = model.find("mrope_section")
    return None if sections is None else [*sections[:3], 0]
