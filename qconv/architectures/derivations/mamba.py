"""State-space models: sizes their configs may leave out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation, rename
from qconv.errors import PlanError


@derivation
def mamba_inner_size(model: ModelContext) -> int:
    """Twice the hidden size when not given."""
    return model.count("intermediate_size", "d_inner", default=2 * model.count("hidden_size", "d_model"))


@derivation
def mamba_time_step_rank(model: ModelContext) -> int:
    """A sixteenth of the hidden size, rounded up, when not given or "auto"."""
    keys = ("time_step_rank", "dt_rank", "mamba_dt_rank")
    if model.find(*keys) in (None, "auto"):
        return -(-model.count("hidden_size", "d_model", "mamba_d_model") // 16)
    return model.count(*keys)


@derivation
def is_falcon_mamba(model: ModelContext) -> bool:
    """Falcon Mamba normalizes B, C and the time step."""
    return bool(model.find("model_type") == "falcon_mamba")


@derivation
def mamba2_inner_size(model: ModelContext) -> int:
    """The hidden size times ``expand``, which is two when not given."""
    expand = model.integer("mamba_expand", "expand", default=2)
    return model.count("intermediate_size", "d_inner", default=expand * model.count("hidden_size", "d_model", "dim"))


@derivation
def mamba2_heads(model: ModelContext) -> int:
    """Heads of the inner size; PlanError when they do not share it evenly."""
    inner, size = mamba2_inner_size(model), model.count("head_dim", default=64)
    if size == 0 or inner % size:
        raise PlanError(f"an inner size of {inner} is not a multiple of heads of {size}", file=model.location)
    return inner // size


@derivation
def mamba2_groups(model: ModelContext) -> int:
    """Groups of heads that share B and C."""
    return model.count("n_groups", default=1)


@derivation
def state_rows(model: ModelContext) -> int:
    """Rows of B, and of C, in a projection that makes them."""
    return model.count("mamba_n_groups") * model.count("mamba_d_state")


_EXPERT = re.compile(r"layers\.(\d{1,9})\.feed_forward\.experts\.0\.")


@rename
def jamba_spelling(name: str, config: Mapping[str, Any]) -> str:
    """The spelling of its first checkpoints: ``moe`` in every layer, with one expert where there is no choice."""
    name = name.replace(".moe.", ".feed_forward.")
    period, offset = config.get("expert_layer_period"), config.get("expert_layer_offset")
    if (match := _EXPERT.match(name)) and isinstance(period, int) and isinstance(offset, int) and period > 0:
        layer = int(match[1])
        if layer < offset or (layer - offset) % period:
            return name.replace(".experts.0.", ".")
    return name
