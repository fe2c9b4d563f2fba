"""Nemotron."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_embd, n_head
from qconv.architectures.model import Model
from qconv.architectures.registry import derivation


@derivation
def rope_dimensions_nemotron(model: Model) -> int:
    """The part of the model's width that rotates, shared out among the heads."""
    rotated = int(model.number("rope_parameters.partial_rotary_factor") * n_embd(model))
    return rotated // max(1, n_head(model))


@derivation
def rope_scaling_factor_nemotron(model: Model) -> float | None:
    """The factor of whatever scaling there is; none without one."""
    return model.find("factor") or model.find("rope_parameters.factor")


@derivation
def rope_scaling_type_nemotron(model: Model) -> str:
    """Linear wherever there is a factor."""
    return "none" if rope_scaling_factor_nemotron(model) is None else "linear"
