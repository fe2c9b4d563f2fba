"""DFlash: drafters that denoise a block of tokens, given states of the target model."""

from __future__ import annotations

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def layers_after_targets(model: ModelContext) -> list[int]:
    """The target's layers whose inputs are looked at; the config names those whose outputs they are."""
    found = model.find("target_layer_ids")
    if not isinstance(found, list) or not all(isinstance(layer, int) for layer in found):
        raise model.lacks(["target_layer_ids"], found, "a list of layers")
    return [layer + 1 for layer in found]
