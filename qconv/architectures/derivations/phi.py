"""Phi: partial rotation and LongRoPE."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qconv.architectures.derivations.common import n_embd, n_head
from qconv.architectures.derivations.rope import parameters
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation, maker
from qconv.errors import PlanError


@derivation
def rotating_dimensions(model: ModelContext) -> int:
    """Dimensions of a head that rotate: ``rotary_dim`` of Phi 2's first configs, or a share of all.

    The share is cut to a whole number before the heads divide it.
    """
    if model.find("rotary_dim") is not None:
        return model.count("rotary_dim")
    share = parameters(model).get("partial_rotary_factor", 1.0)
    if not isinstance(share, int | float):
        raise model.lacks(["partial_rotary_factor"], share, "a number")
    return int(share * n_embd(model)) // max(1, n_head(model))


@derivation
def longrope_attention_factor(model: ModelContext) -> float | None:
    """What attention is scaled by for contexts longer than the model was first trained on; none without factors.

    ``sqrt(1 + ln s / ln n)`` for LongRoPE, ``0.1 ln s + 1`` for YaRN: ``n`` the first context, ``s`` how many times
    longer the new one is.
    """
    if not parameters(model).get("long_factor"):
        return None
    first = model.count("rope_parameters.original_max_position_embeddings")
    longer = model.integer("n_positions", "max_position_embeddings") / max(1, first)
    kind = str(parameters(model).get("rope_type", "")).lower()
    if parameters(model).get("type") == "yarn" and model.find("model_type") == "phi3":
        kind = "longrope"  # as transformers reads Phi 3's first configs
    if kind not in ("su", "longrope", "yarn"):
        raise PlanError(f"config.json scales rope by {kind!r}, known are su, longrope, yarn", file=model.location)
    if longer <= 1:
        return 1.0
    return 0.1 * math.log(longer) + 1 if kind == "yarn" else math.sqrt(1 + math.log(longer) / math.log(first))


@maker
def longrope_long_factors(model: ModelContext) -> NDArray[np.float32] | None:
    """Factors of the frequencies for long contexts."""
    return _factors(model, "long_factor")


@maker
def longrope_short_factors(model: ModelContext) -> NDArray[np.float32] | None:
    """Factors of the frequencies for contexts within the first one."""
    return _factors(model, "short_factor") if parameters(model).get("long_factor") else None


def _factors(model: ModelContext, key: str) -> NDArray[np.float32] | None:
    factors = parameters(model).get(key)
    if not factors and key == "long_factor":
        return None
    size = rotating_dimensions(model) // 2
    if (
        not isinstance(factors, list)
        or len(factors) != size
        or not all(isinstance(factor, int | float) for factor in factors)
    ):
        raise PlanError(f"rope's {key} in config.json is not {size} numbers", file=model.location)
    return np.array(factors, np.float32)
