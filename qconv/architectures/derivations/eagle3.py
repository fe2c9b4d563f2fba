"""EAGLE-3: drafters of one layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qconv.architectures.derivations.common import n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation, rename
from qconv.errors import UsageError


@condition
def is_eagle3(model: ModelContext) -> bool:
    """A Llama of one layer that says how many tokens it drafts is none."""
    return model.find("draft_vocab_size") is not None and n_layer(model) == 1


@rename
def eagle3_spelling(name: str, config: Mapping[str, Any]) -> str:
    """``midlayer`` is the layer there is."""
    return name.replace("midlayer.", "layers.0.", 1) if name.startswith("midlayer.") else name


def _of_target(model: ModelContext, key: str) -> int:
    value = model.target.get(key)
    if not isinstance(value, int):
        hint = "--target DIR names the model it drafts for"
        raise UsageError(f"is a drafter, and needs '{key}' of its target's config", file=model.location, hint=hint)
    return value


@derivation
def target_layers_eagle3(model: ModelContext) -> list[int]:
    """The target's layers whose states it is given: those it names, or an early, the middle and a late one."""
    named = model.find("eagle_aux_hidden_state_layer_ids")
    if named:
        return [int(layer) for layer in named]
    layers = _of_target(model, "num_hidden_layers")
    return [2, layers // 2, layers - 3]


@derivation
def target_hidden_size(model: ModelContext) -> int:
    own = model.find("target_hidden_size")
    return _of_target(model, "hidden_size") if own is None else model.integer("target_hidden_size")
