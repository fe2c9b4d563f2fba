"""DeciLM: blocks that differ in what they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qconv.architectures.derivations.common import n_embd, n_head, n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation

_MULTIPLE = 256


@condition
def has_no_block_configs(model: ModelContext) -> bool:
    """The first models, whose layers differ in their key heads only."""
    return not model.has("block_configs")


def _blocks(model: ModelContext, part: str) -> list[Mapping[str, Any]]:
    """``part`` of every layer's block: ``attention`` or ``ffn``."""
    blocks = model.find("block_configs")
    if not isinstance(blocks, list) or len(blocks) != n_layer(model):
        raise model.lacks(["block_configs"], blocks and "a list of another length", "one block for each layer")
    return [block[part] for block in blocks]


@derivation
def head_count_deci(model: ModelContext) -> list[int]:
    """Query heads by layer; 0 without attention, all of them where one matrix stands for it."""
    heads = n_head(model)
    blocks = _blocks(model, "attention")
    return [heads if b["n_heads_in_group"] is not None or b["replace_with_linear"] is True else 0 for b in blocks]


@derivation
def head_count_kv_deci(model: ModelContext) -> list[int]:
    """Heads of keys and values by layer; 0 in layers without attention."""
    groups = [block["n_heads_in_group"] for block in _blocks(model, "attention")]
    return [0 if group is None else n_head(model) // group for group in groups]


@derivation
def feed_forward_deci(model: ModelContext) -> list[int]:
    """Width of the feed-forward part by layer: two thirds of so many times the model's, rounded up; 0 without one."""
    multipliers = [float(block["ffn_mult"] or 0.0) for block in _blocks(model, "ffn")]
    widths = [int(2 * multiplier * n_embd(model) / 3) for multiplier in multipliers]
    return [_MULTIPLE * -(-width // _MULTIPLE) for width in widths]
