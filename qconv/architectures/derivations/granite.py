"""Granite."""

from __future__ import annotations

from qconv.architectures.derivations.common import head_dim, n_head_kv, n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def unless_zero(model: ModelContext, key: str) -> int | None:
    """A size from the config; none where it is missing or zero."""
    return model.count(key, default=0) or None


@derivation
def sliding_layers_granite(model: ModelContext) -> list[bool]:
    """Per layer, whether it has a window; without ``layer_types`` all but the first of every four."""
    kinds = model.find("layer_types")
    if isinstance(kinds, list):
        return [kind == "sliding_attention" for kind in kinds]
    return [layer % 4 != 0 for layer in range(n_layer(model))]


@derivation
def rotating_layers_granite(model: ModelContext) -> list[bool] | None:
    """Per layer, whether queries and keys rotate; none where all do.

    ``no_rope_layers`` has a 1 for those that do; ``layer_rope_theta``, as transformers writes it, a 0 for those that
    do not.
    """
    flags = model.find("no_rope_layers")
    if flags is None:
        flags = model.find("layer_rope_theta")
        flags = flags if isinstance(flags, list) and not all(flags) else None
    return [bool(flag) for flag in flags] if flags else None


@derivation
def n_layer_switch(model: ModelContext) -> int:
    """The config counts the switch between adapters, which has no weights, as a layer."""
    return n_layer(model) - 1


@derivation
def head_dim_switch(model: ModelContext) -> int:
    return model.count("projection_head_dim", default=0) or head_dim(model)


@derivation
def value_rows(model: ModelContext) -> int:
    """Rows of values, below those of queries and keys."""
    return n_head_kv(model) * head_dim_switch(model)
