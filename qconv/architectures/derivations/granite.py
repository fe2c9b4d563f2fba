"""Granite."""

from __future__ import annotations

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def unless_zero(model: ModelContext, key: str) -> int | None:
    """A size from the config; none where it is missing or zero."""
    return model.count(key, default=0) or None
