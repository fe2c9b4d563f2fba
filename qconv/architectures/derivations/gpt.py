"""GPT-2's descendants."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_head
from qconv.architectures.derivations.rope import parameters
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def bigcode_head_count_kv(model: ModelContext) -> int:
    """One head for keys and values, unless ``multi_query`` says that there are as many as for queries."""
    return n_head(model) if model.find("multi_query") is False else 1


@derivation
def neox_rotary_share(model: ModelContext) -> float:
    """The part of a head that rotates, under its name in either age of GPT-NeoX's config; a quarter in neither."""
    newer = parameters(model).get("partial_rotary_factor")
    return model.number("rotary_pct", default=0.25 if newer is None else newer)
