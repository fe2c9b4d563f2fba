"""Falcon."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_head
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def falcon_head_count_kv(model: ModelContext) -> int:
    """Key and value heads: as the config says in the new decoder, in the old one a single one or one a query head.

    Old configs do not name the decoder: they have ``n_head_kv`` for the new one only.  ``num_kv_heads`` is not believed
    in the old decoder, where transformers ignores it and configs hold the number of query heads.
    """
    if model.find("new_decoder_architecture") or model.find("n_head_kv") is not None:
        return model.count("num_kv_heads", "n_head_kv", default=n_head(model))
    return n_head(model) if model.find("multi_query") is False else 1
