"""Nanbeige."""

from __future__ import annotations

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def loops_nanbeige(model: ModelContext) -> int:
    """How often the layers are run: at least once."""
    return max(1, model.integer("num_loops", default=1))
