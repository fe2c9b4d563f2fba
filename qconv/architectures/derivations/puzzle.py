"""Nemotron pruned by Puzzle: a block for each layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qconv.architectures.derivations.common import n_head_kv
from qconv.architectures.model import LARGEST_COUNT, ModelContext
from qconv.architectures.registry import derivation


def _blocks(model: ModelContext) -> list[Mapping[str, Any]]:
    blocks = model.find("block_configs")
    if not isinstance(blocks, list) or not 0 < len(blocks) <= LARGEST_COUNT:
        raise model.lacks(["block_configs"], blocks and "no such list", "a list of blocks")
    return blocks


@derivation
def n_layer_puzzle(model: ModelContext) -> int:
    """As many layers as blocks, whatever else counts them."""
    return len(_blocks(model))


@derivation
def of_each_block(model: ModelContext, key: str) -> list[int]:
    """A number of each layer's block; 0 where it has none."""
    return [int(block.get(key) or 0) for block in _blocks(model)]


@derivation
def head_count_kv_puzzle(model: ModelContext) -> list[int]:
    """Heads of keys and values by layer; 0 in layers without attention."""
    heads = n_head_kv(model)
    return [heads if block.get("block_type") == "attention" else 0 for block in _blocks(model)]
