"""Command R."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_embd, n_head, n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def head_dim_from_width(model: ModelContext) -> int:
    """The hidden size shared out among the query heads, whatever ``head_dim`` says."""
    return n_embd(model) // max(1, n_head(model))


@derivation
def rope_dimensions_cohere2(model: ModelContext) -> int:
    """The part of a head that rotates; all of it where ``rotary_pct`` is missing, as transformers 5 leaves it out."""
    return int(model.number("rotary_pct", default=1.0) * head_dim_from_width(model))


@derivation
def layer_types_cohere2moe(model: ModelContext) -> list[str]:
    """All but the last of every few layers have a sliding window, counted anew after the dense layers at the front."""
    first = model.count("first_k_dense_replace", default=0)
    periods = [model.count("prefix_dense_sliding_window_pattern", default=1)] * first
    periods += [model.count("sliding_window_pattern", default=4)] * (n_layer(model) - first)
    places = [*range(first), *range(n_layer(model) - first)]
    full = [(place + 1) % max(1, period) == 0 for place, period in zip(places, periods, strict=True)]
    return ["full_attention" if every else "sliding_attention" for every in full]
