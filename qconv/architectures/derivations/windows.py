"""Layers whose attention sees a sliding window."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation


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


@derivation
def all_full_attention_layers(model: ModelContext) -> list[str]:
    """``layer_types`` of a model without windows."""
    return ["full_attention"] * n_layer(model)


@derivation
def all_sliding_layers(model: ModelContext) -> list[str]:
    """``layer_types`` of a model with windows everywhere."""
    return ["sliding_attention"] * n_layer(model)


@derivation
def window_in_use(model: ModelContext) -> int | None:
    """The sliding window; none where no layer has one, whatever size the config gives."""
    kinds = model.find("layer_types")
    if isinstance(kinds, list) and "sliding_attention" not in kinds:
        return None
    return model.count("sliding_window", default=0) or None


@condition
def has_sliding_layers(model: ModelContext) -> bool:
    """Some layer has a window, and the config does not say that they are unused."""
    return window_in_use(model) is not None and model.find("use_sliding_window") is not False


@derivation
def sliding_layers_unless_usual(model: ModelContext, period: int, full: int) -> list[bool] | None:
    """Per layer, whether it has a window; none where llama.cpp takes it for granted: layer ``full`` of ``period``."""
    kinds = model.find("layer_types")
    if not isinstance(kinds, list) or window_in_use(model) is None:
        return None
    sliding = [kind == "sliding_attention" for kind in kinds]
    return None if sliding == [layer % period != full for layer in range(len(kinds))] else sliding


@derivation
def layer_types_from_the_last(model: ModelContext) -> list[str]:
    """Every fourth layer sees everything, counted back from the last; the others have a window."""
    return ["sliding_attention" if layer % 4 else "full_attention" for layer in reversed(range(n_layer(model)))]
