"""EXAONE 4."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def layer_types_exaone4(model: ModelContext) -> list[str]:
    """All but the last of every few layers have a sliding window; ``sliding_window_pattern`` is that number.

    Or it is a word with a letter for each, L for local.
    """
    period = model.find("sliding_window_pattern")
    if isinstance(period, str):
        return [_LETTERS.get(period[layer % len(period)], "full_attention") for layer in range(n_layer(model))]
    step = model.count("sliding_window_pattern") if model.find("sliding_window") is not None else 0
    return ["sliding_attention" if step and (i + 1) % step else "full_attention" for i in range(n_layer(model))]


_LETTERS = {"L": "sliding_attention"}
