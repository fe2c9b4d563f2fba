"""MPT: what its ``attn_config`` means."""

from __future__ import annotations

from typing import Any

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def mpt_no_attention(model: ModelContext) -> dict[str, Any]:
    """The ``attn_config`` of a config without one: transformers' defaults."""
    return {}


@derivation
def mpt_head_count_kv(model: ModelContext) -> int | None:
    """Key and value heads where several queries share one, else nothing."""
    kind = model.find("attn_config.attn_type")
    if kind == "multiquery_attention":
        return 1
    return model.find("attn_config.kv_n_heads") if kind == "grouped_query_attention" else None


@derivation
def mpt_alibi_bias(model: ModelContext) -> float:
    """Largest ALiBi bias; 0 where positions are not told by ALiBi."""
    if not (model.find("attn_config.alibi") if model.has("attn_config.alibi") else True):
        return 0.0
    return float(model.number("attn_config.alibi_bias_max", default=8))
