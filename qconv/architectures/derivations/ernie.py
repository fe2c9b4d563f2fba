"""ERNIE 4.5."""

from __future__ import annotations

from qconv.architectures.derivations.common import head_dim, n_head, n_head_kv
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def head_dim_ernie(model: ModelContext) -> int:
    """128 where the config is silent; null means the hidden size shared out among the heads."""
    return head_dim(model) if model.has("head_dim") else 128


@derivation
def q_rows(model: ModelContext) -> int:
    """Rows of the queries in a fused tensor."""
    return n_head(model) * head_dim(model)


@derivation
def kv_rows(model: ModelContext) -> int:
    """Rows of the keys, or of the values."""
    return n_head_kv(model) * head_dim(model)


@derivation
def n_expert_ernie(model: ModelContext) -> int:
    return model.count("moe_num_experts", default=0)


@derivation
def shared_size_ernie(model: ModelContext) -> int | None:
    """The size llama.cpp gives for the shared experts, by heads of keys; nothing reads it."""
    if not model.count("moe_num_shared_experts", default=0):
        return None
    return model.count("intermediate_size") // max(1, n_head_kv(model))
