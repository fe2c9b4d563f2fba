"""PLaMo 1, 2 and 3."""

from __future__ import annotations

from typing import Any

from qconv.architectures.derivations.common import n_head, n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation


@derivation
def n_head_kv_plamo(model: ModelContext) -> int:
    """Heads of keys and values of PLaMo 1, whose config gives the number of queries that share one."""
    return n_head(model) // max(1, model.count("n_shared_head"))


@derivation
def attention_heads_plamo2(model: ModelContext, key: str, default: int) -> list[int] | None:
    """A number of heads by layer, 0 in layers of Mamba; none in a model without such layers.

    Attention is in the middle of every ``mamba_step`` layers, or in the last of very few.
    """
    step, layers = model.count("mamba_step", default=2), n_layer(model)
    if model.find("mamba_enabled") is False:
        return None
    heads = model.count(key, default=default)
    if layers <= step // 2:
        return [0] * (layers - 1) + [heads]
    return [heads if layer % max(1, step) == step // 2 else 0 for layer in range(layers)]


@derivation
def inner_size_plamo2(model: ModelContext) -> int:
    """Width of Mamba's inside."""
    return model.count("mamba_num_heads", default=64) * model.count("hidden_size_per_head", default=128)


@derivation
def yarn_plamo3(model: ModelContext) -> dict[str, Any] | None:
    """``rope_scaling`` from the keys that stand for it; none where nothing is scaled."""
    factor = model.number("rope_scaling_factor", default=1)
    if factor == 1:
        return None
    context = model.count("initial_context_length")
    scaling = {
        "factor": float(factor),
        "original_max_position_embeddings": context,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
    }
    return {"rope_type": "yarn", **scaling}


@condition
def has_window_plamo3(model: ModelContext) -> bool:
    return model.find("window_size", "sliding_window") is not None
