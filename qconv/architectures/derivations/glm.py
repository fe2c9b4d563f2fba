"""GLM-4."""

from __future__ import annotations

from qconv.architectures.derivations.common import head_dim, n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def rope_dimensions_half(model: ModelContext) -> int:
    """The part of a head that rotates: half of it where the config says nothing."""
    factor = model.find("rope_parameters.partial_rotary_factor")
    return int(head_dim(model) * (0.5 if factor is None else factor))


@derivation
def latent_layers_glm(model: ModelContext) -> list[int]:
    """Heads of keys, layer by layer: none where attention is linear, one elsewhere and for further tokens."""
    kinds = model.find("layer_types")
    if not isinstance(kinds, list) or len(kinds) != n_layer(model):
        raise model.lacks(["layer_types"], None, "every layer")
    return [int(kind != "linear_attention") for kind in kinds] + [1] * (n_layer_nextn(model) - len(kinds))


@derivation
def rotating_neighbours(model: ModelContext) -> int:
    """Rows of a head that rotate by neighbours, where positions in several dimensions want halves."""
    return rope_dimensions_half(model) if model.has("rope_parameters.mrope_section") else 0


@derivation
def n_layer_nextn(model: ModelContext) -> int:
    """The model's layers and those it has for further tokens."""
    return n_layer(model) + model.count("num_nextn_predict_layers", default=0)


@derivation
def n_layer_nextn_there(model: ModelContext) -> int:
    """The same, as far as the checkpoint holds them: many leave out those for further tokens."""
    layers = n_layer(model)
    return n_layer_nextn(model) if f"layers.{layers}.eh_proj.weight" in model.tensors else layers


@derivation
def nextn_layers_there(model: ModelContext) -> int | None:
    """Layers for further tokens, as far as the checkpoint holds them; none where the config does not speak of them."""
    if model.find("num_nextn_predict_layers") is None:
        return None
    return n_layer_nextn_there(model) - n_layer(model)
