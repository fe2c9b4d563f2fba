"""Qwen3-Next and Qwen3.5: linear attention, and blocks that predict one more token (MTP)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qconv.architectures.derivations.common import head_dim, n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation, rename
from qconv.errors import PlanError

_MTP_MODULES = {
    "fc": "eh_proj",
    "pre_fc_norm_embedding": "enorm",
    "pre_fc_norm_hidden": "hnorm",
    "norm": "shared_head.norm",
}
_LAYER = re.compile(r"layers\.(\d+)\.")


@rename
def mtp_as_layers(name: str, config: Mapping[str, Any]) -> str:
    """``mtp.layers.0.x`` follows the model's own layers; what ``mtp.`` has beside is the first such layer's."""
    parts = name.split(".", 3)
    if parts[0] != "mtp" or not isinstance(first := config.get("num_hidden_layers"), int):
        return name
    if len(parts) == 4 and parts[1] == "layers" and parts[2].isdecimal():
        return f"layers.{first + int(parts[2])}.{parts[3]}"
    if len(parts) == 3 and parts[1] in _MTP_MODULES:
        return f"layers.{first}.{_MTP_MODULES[parts[1]]}.{parts[2]}"
    return name


@derivation
def n_layer_mtp(model: ModelContext) -> int:
    """The model's layers and those for further tokens, as many as the checkpoint holds."""
    matches = (_LAYER.match(name) for name in model.tensors)
    last = max((int(match[1]) for match in matches if match), default=-1)
    return max(n_layer(model), last + 1)


@derivation
def mtp_layers(model: ModelContext) -> int | None:
    """Layers for further tokens; none when there are none."""
    return n_layer_mtp(model) - n_layer(model) or None


@derivation
def recurrent_layers(model: ModelContext) -> list[bool] | None:
    """Per layer, whether its attention is linear; layers for further tokens have full attention."""
    kinds = model.find("layer_types")
    if kinds is None:
        return None
    if not isinstance(kinds, list) or len(kinds) != n_layer(model):
        raise PlanError("config.json's layer_types does not list every layer", file=model.location)
    return [kind == "linear_attention" for kind in kinds] + [False] * (n_layer_mtp(model) - len(kinds))


@derivation
def rope_dimensions_quarter(model: ModelContext) -> int:
    """The part of the head that rotates: a quarter where the config says nothing."""
    factor = model.find("rope_parameters.partial_rotary_factor")
    return int(head_dim(model) * (0.25 if factor is None else factor))


@derivation
def values_per_key(model: ModelContext) -> int:
    """Value heads of linear attention for each of its key heads."""
    keys, values = model.count("linear_num_key_heads"), model.count("linear_num_value_heads")
    if keys == 0 or values % keys:
        raise PlanError(f"{values} value heads cannot share {keys} key heads", file=model.location)
    return values // keys


@derivation
def values_per_group(model: ModelContext) -> int:
    """Rows of a group of value heads that share a key head."""
    return values_per_key(model) * model.count("linear_value_head_dim")


@derivation
def query_key_rows(model: ModelContext) -> int:
    """Rows of queries and keys before the values."""
    return 2 * model.count("linear_num_key_heads") * model.count("linear_key_head_dim")


@derivation
def mrope_sections_qwen35(model: ModelContext) -> list[int] | None:
    """The class's own sections when the config has none."""
    return None if model.has("rope_parameters.mrope_section") else [11, 11, 10, 0]


@derivation
def layer_types_by_interval(model: ModelContext) -> list[str]:
    """Full attention in every fourth layer, or as ``full_attention_interval`` says."""
    step = max(1, model.count("full_attention_interval", default=4))
    return ["full_attention" if (layer + 1) % step == 0 else "linear_attention" for layer in range(n_layer(model))]


@derivation
def mtp_layers_or_zero(model: ModelContext) -> int:
    """Layers for further tokens, for classes that also tell of none."""
    return mtp_layers(model) or 0
