"""Layers whose attention sees a sliding window."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def sliding_window_layers(model: ModelContext, period: int) -> list[bool] | None:
    """Per layer, whether it has a window; without ``layer_types`` all but the last of each ``period`` layers.

    None when the config names no window.
    """
    if model.find("sliding_window") is None:
        return None
    kinds = model.find("layer_types")
    if isinstance(kinds, list):
        return [kind == "sliding_attention" for kind in kinds]
    return [(layer + 1) % period != 0 for layer in range(n_layer(model))]
