"""InternLM 2."""

from __future__ import annotations

from qconv.architectures.derivations.common import head_dim, n_head, n_head_kv
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def queries_per_group(model: ModelContext) -> int:
    """Rows of the query heads that share a key head."""
    return n_head(model) // max(1, n_head_kv(model)) * head_dim(model)
