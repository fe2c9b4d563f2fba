"""State-space models: sizes their configs may leave out."""

from __future__ import annotations

from qconv.architectures.model import Model
from qconv.architectures.registry import derivation


@derivation
def mamba_inner_size(model: Model) -> int:
    """Twice the hidden size when not given."""
    return model.count("intermediate_size", "d_inner", default=2 * model.count("hidden_size", "d_model"))


@derivation
def mamba_time_step_rank(model: Model) -> int:
    """A sixteenth of the hidden size, rounded up, when not given."""
    return model.count("time_step_rank", "dt_rank", default=-(-model.count("hidden_size", "d_model") // 16))


@derivation
def is_falcon_mamba(model: Model) -> bool:
    """Falcon Mamba normalizes B, C and the time step."""
    return bool(model.find("model_type") == "falcon_mamba")
