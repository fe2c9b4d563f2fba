"""DeepSeek V4: what a checkpoint holds beside the model, to predict further tokens or to draft blocks of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation, rename
from qconv.errors import PlanError

_STAGE = re.compile(r"mtp\.(\d{1,9})\.(.+)")
_LAYER = re.compile(r"layers\.(\d{1,9})\.")
_OF_NO_STAGE = re.compile(r"(main_proj|main_norm|norm|markov_head|confidence_head|hc_head_\w+)(\.|$)")
_NEXTN = ("e_proj.", "h_proj.", "enorm.", "hnorm.")


@rename
def mtp_as_layers_deepseek4(name: str, config: Mapping[str, Any]) -> str:
    """``mtp.N.x`` follows the model's own layers, but the hyper-connections of the output: they replace the model's."""
    match = _STAGE.fullmatch(name)
    if match is None:
        return f"target.{name}" if name.startswith("hc_head") else name
    number, rest = match.groups()
    if rest.startswith("hc_head"):
        return f"further.{rest}"
    layer = f"layers.{int(config.get('num_hidden_layers') or 0) + int(number)}"
    if rest == "norm.weight":
        return f"{layer}.nextn.shared_head_norm.weight"
    return f"{layer}.nextn.{rest}" if rest.startswith(_NEXTN) else f"{layer}.{rest}"


@rename
def stages_as_layers_dspark(name: str, config: Mapping[str, Any]) -> str:
    """``mtp.N.x`` is layer N of the drafter, or stands beside its layers; all else is the target's."""
    match = _STAGE.fullmatch(name)
    if match is None:
        return f"target.{name}"
    return match[2] if _OF_NO_STAGE.match(match[2]) else f"layers.{match[1]}.{match[2]}"


@derivation
def stages_dspark(model: ModelContext) -> int:
    """Stages there are, each a layer."""
    return 1 + max((int(match[1]) for match in map(_LAYER.match, model.tensors) if match), default=-1)


@derivation
def in_each_stage(model: ModelContext, key: str) -> list[float]:
    """The value of a config key for every stage."""
    return [float(model.number(key))] * stages_dspark(model)


@derivation
def uncompressed_dspark(model: ModelContext) -> list[int]:
    """For every stage that its attention is to single tokens."""
    return [0] * stages_dspark(model)


@condition
def is_dspark(model: ModelContext) -> bool:
    """What a checkpoint has beside the model drafts blocks of tokens."""
    return model.find("dspark_block_size") is not None


@derivation
def layers_deepseek4_vision(model: ModelContext) -> int:
    """Layers of the encoder of images; PlanError: there are none."""
    if not model.find("vision_n_layers"):
        raise PlanError("has no projector: config.json says vision_n_layers of none", file=model.location)
    return model.count("vision_n_layers")
