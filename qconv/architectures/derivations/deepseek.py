"""DeepSeek: its latent attention's YaRN, and layers behind the last."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qconv.architectures.derivations.common import n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation, rename

_LAYER = re.compile(r"layers\.(\d{1,9})\.")


@derivation
def yarn_log_multiplier(model: ModelContext) -> float | None:
    """A tenth of ``mscale_all_dim``: what attention grows by with the logarithm of the context's."""
    mscale = model.find("rope_parameters.mscale_all_dim")
    return None if mscale is None else 0.1 * model.number("rope_parameters.mscale_all_dim")


@derivation
def leading_dense_mla(model: ModelContext) -> int:
    """Layers before those with experts: all of a model without any."""
    kinds = model.find("mlp_layer_types")
    if model.find("first_k_dense_replace") is None and isinstance(kinds, list):
        return next((layer for layer, kind in enumerate(kinds) if kind != "dense"), len(kinds))
    experts = model.find("n_routed_experts") is not None
    return model.count("first_k_dense_replace", default=0 if experts else n_layer(model))


@derivation
def first_nonzero(model: ModelContext, *of: str) -> Any:
    """The first of these config keys that is neither missing nor zero; none of them, none."""
    return next((value for key in of if (value := model.find(key))), None)


@derivation
def rope_dimensions_glm_dsa(model: ModelContext) -> int:
    """The part of ``qk_rope_head_dim`` that rotates: all of it where the config says nothing."""
    share = model.number("rope_parameters.partial_rotary_factor", default=1.0)
    return int(model.count("qk_rope_head_dim") * share)


@derivation
def indexer_layers(model: ModelContext) -> list[bool] | None:
    """Per layer, whether it has an indexer of its own, rather than the choice of one before it."""
    kinds = model.find("indexer_types")
    if kinds is not None and not isinstance(kinds, list):
        raise model.lacks(["indexer_types"], kinds, "a list")
    return None if kinds is None else [kind == "full" for kind in kinds]


@rename
def further_layers(name: str, config: Mapping[str, Any]) -> str:
    """``layers.N.x`` from the model's number of layers on is ``further.N.x``: it predicts a further token."""
    match, layers = _LAYER.match(name), config.get("num_hidden_layers")
    if match is None or not isinstance(layers, int) or int(match[1]) < layers:
        return name
    return "further." + name.removeprefix("layers.")
