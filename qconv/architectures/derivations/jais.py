"""Jais: the two ages of its scales."""

from __future__ import annotations

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def width_scale_jais(model: ModelContext) -> float:
    """What the output is multiplied by, where the config gives its two factors."""
    return model.number("mup_output_alpha") * model.number("mup_width_scale")
