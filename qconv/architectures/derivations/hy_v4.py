"""Hunyuan 4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qconv.architectures.derivations.common import block_count, tied_embeddings
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation, rename

_SPARSE = ("sparse_attention", "deepseek_sparse_attention")
_SPELLINGS = (
    (".hc_pre.hc_attn_layer.", ".hc_attn_layer.hc_pre."),
    (".hc_pre.hc_mlp_layer.", ".hc_mlp_layer.hc_pre."),
    ("hc_pre.hc_head.", "hc_head."),
    (".mlp.linear_gate.", ".mlp.gate_proj."),
    (".shared_experts.linear_gate.", ".shared_experts.gate_proj."),
)


@rename
def hy_v4_spelling(name: str, config: Mapping[str, Any]) -> str:
    """What transformers 5 makes of some names when it saves: it undoes its own renaming more widely than it did it."""
    for saved, first in _SPELLINGS:
        name = name.replace(saved, first)
    return name


@derivation
def indexer_layers_hy_v4(model: ModelContext) -> list[bool] | None:
    """Per layer, whether it has an indexer of its own; none where no layer attends sparsely."""
    kinds = model.find("indexer_types")
    if kinds is None:
        kinds = model.find("layer_types")
        if not isinstance(kinds, list) or not set(kinds) & set(_SPARSE):
            return None
    if not isinstance(kinds, list) or len(kinds) < block_count(model):
        raise model.lacks(["indexer_types"], kinds, "a word for each layer")
    return [kind in ("full", *_SPARSE) for kind in kinds[: block_count(model)]]


@condition
def has_indexer(model: ModelContext) -> bool:
    return indexer_layers_hy_v4(model) is not None


@derivation
def clamp_hy_v4(model: ModelContext) -> list[float] | None:
    """What routed experts' activations are clamped to, for each layer; none without a limit."""
    limit = float(model.number("swiglu_limit", default=0.0))
    return [limit] * block_count(model) if limit > 0 else None


@condition
def lm_head_as_the_file(model: ModelContext) -> bool:
    """There is an output layer, and the config does not want it in float32."""
    return not model.find("enable_lm_head_fp32") and not tied_embeddings(model)
