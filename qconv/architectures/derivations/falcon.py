"""Falcon."""

from __future__ import annotations

from qconv.architectures.model import Model
from qconv.architectures.registry import derivation


@derivation
def n_head_kv_falcon(model: Model) -> int:
    """Key and value heads; one when the config does not say."""
    return model.count("num_kv_heads", "n_head_kv", default=1)
