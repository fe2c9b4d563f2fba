"""Apertus: parameters of its activation, one value a layer, become metadata."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def activation_values(model: ModelContext, name: str) -> list[float] | None:
    """``act_fn.NAME`` of every layer; none unless every layer has one."""
    values = [model.scalar(f"layers.{layer}.mlp.act_fn.{name}") for layer in range(n_layer(model))]
    numbers = [value for value in values if value is not None]
    return numbers if len(numbers) == len(values) else None
