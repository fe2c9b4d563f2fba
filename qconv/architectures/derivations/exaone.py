"""EXAONE 4."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_embd, n_head, n_layer
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


@derivation
def rope_dimensions_exaone(model: ModelContext) -> int:
    """The part of a head that rotates: of the width shared out among the heads, whatever ``head_dim`` says."""
    share = model.find("rope_parameters.partial_rotary_factor")
    return int((1.0 if share is None else share) * (n_embd(model) // max(1, n_head(model))))
