"""Talkie."""

from __future__ import annotations

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def tensor_value(model: ModelContext, name: str) -> float:
    """The one value of the tensor ``name``; PlanError when it is not there, or has more."""
    value = model.scalar(name)
    if value is None:
        raise model.lacks([name], None, f"the single value of the tensor {name}")
    return value
