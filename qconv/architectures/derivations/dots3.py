"""dots 3 note: latent attention of two sizes, full and sliding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from qconv.architectures.derivations.common import n_head
from qconv.architectures.derivations.gemma import is_sliding
from qconv.architectures.derivations.qwen import mtp_layers_or_zero
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation, rename


@rename
def mtp_embedding_in_layer(name: str, config: Mapping[str, Any]) -> str:
    """``mtp.embed_tokens`` is the first further layer's, whose other tensors have its number in their names."""
    return name.replace("mtp.embed_tokens.", f"layers.{config.get('num_hidden_layers')}.embed_tokens.", 1)


@derivation
def n_head_dots3(model: ModelContext) -> list[int]:
    """Heads, layer by layer; layers for further tokens are sliding ones."""
    full, sliding = n_head(model), model.count("swa_num_attention_heads")
    own = [sliding if limited else full for limited in is_sliding(model)]
    return own + [sliding] * mtp_layers_or_zero(model)


@derivation
def is_full_dots3(model: ModelContext) -> list[bool]:
    """For each layer whether it attends to what its indexer picks."""
    return [not limited for limited in is_sliding(model)]


def _rescale(model: ModelContext, rank: str) -> float:
    """What the model multiplies normalized activations of this rank with, if it does."""
    rescales = bool(model.find("apply_mla_qkv_lora_rescale"))
    return math.sqrt(model.number("hidden_size") / model.number(rank)) if rescales else 1.0


@derivation
def rescale_queries_dots3(model: ModelContext) -> float:
    return _rescale(model, "q_lora_rank")


@derivation
def rescale_latent_dots3(model: ModelContext) -> float:
    return _rescale(model, "kv_lora_rank")


@derivation
def rescale_latent_swa_dots3(model: ModelContext) -> float:
    return _rescale(model, "swa_kv_lora_rank")


@derivation
def dots3_image_experts(model: ModelContext) -> list[int]:
    """Experts of each layer of the images' tower that are routed to; 0 where there is one feed-forward part."""
    counts, layers = model.find("vision.pyramid_num_routed"), model.count("vision.num_hidden_layers")
    if not isinstance(counts, list) or len(counts) != layers or not all(isinstance(count, int) for count in counts):
        raise model.lacks(["vision_config.pyramid_num_routed"], counts, f"{layers} numbers of experts")
    return [max(0, count) for count in counts]
