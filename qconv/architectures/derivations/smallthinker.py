"""SmallThinker."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_expert
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation

_SOFTMAX, _SIGMOID = 1, 2


@derivation
def n_expert_smallthinker(model: ModelContext) -> int:
    return model.count("moe_num_primary_experts", default=0) or n_expert(model)


@derivation
def gating_smallthinker(model: ModelContext) -> int:
    """GGUF's number of the function that weighs experts."""
    return _SOFTMAX if model.find("moe_primary_router_apply_softmax") else _SIGMOID


@derivation
def window_smallthinker(model: ModelContext) -> int | None:
    """The sliding window; none where ``sliding_window_layout`` gives it to no layer."""
    layout = model.find("sliding_window_layout")
    if not isinstance(layout, list) or not any(layout):
        return None
    return model.count("sliding_window_size", default=0) or None
