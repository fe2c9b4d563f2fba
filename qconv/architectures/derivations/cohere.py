"""Command R."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_embd, n_head
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
