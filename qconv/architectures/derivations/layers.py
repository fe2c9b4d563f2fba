"""Values that llama.cpp wants once for each layer."""

from __future__ import annotations

from qconv.architectures.derivations.common import block_count
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation


@derivation
def key_in_each_layer(model: ModelContext, key: str) -> list[float]:
    """The value of a config key for every layer."""
    return [float(model.number(key))] * block_count(model)


@derivation
def limit_in_each_layer_if_any(model: ModelContext, key: str) -> list[float] | None:
    """The value of a config key for every layer, none where it has none."""
    return None if model.find(key) is None else key_in_each_layer(model, key)


@derivation
def in_each_layer(model: ModelContext, value: float) -> list[float]:
    """The same number for every layer."""
    return [float(value)] * block_count(model)


@condition
def has_first_layer(model: ModelContext) -> bool:
    """Not only layers that predict further tokens, which follow the model's own."""
    return any(name.startswith("layers.0.") for name in model.tensors)
