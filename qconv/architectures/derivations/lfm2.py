"""LFM2: its config's two ages."""

from __future__ import annotations

from typing import Any

from qconv.architectures.derivations.common import n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def first_given(model: ModelContext, *of: str | float) -> Any:
    """The value of the first config key that is there, or the number that stands among them."""
    for choice in of:
        value = model.find(choice) if isinstance(choice, str) else choice
        if value is not None:
            return value
    return None


@derivation
def layer_types_by_index(model: ModelContext, key: str) -> list[str]:
    """Attention in the layers ``key`` lists, in all of them where it is missing; convolutions in the others."""
    layers, attention = range(n_layer(model)), model.find(key)
    return ["full_attention" if attention is None or layer in attention else "conv" for layer in layers]


@derivation
def feed_forward_adjusted(model: ModelContext) -> int:
    """Width of the feed-forward part: two thirds of what the config says, rounded up, where it asks for that."""
    width = model.integer("block_ff_dim", "intermediate_size")
    if not model.find("block_auto_adjust_ff_dim"):
        return width
    width = int(2 * width / 3)
    if model.find("block_ffn_dim_multiplier") is not None:
        width = int(model.number("block_ffn_dim_multiplier") * width)
    multiple = model.integer("block_multiple_of")
    return multiple * ((width + multiple - 1) // multiple)
