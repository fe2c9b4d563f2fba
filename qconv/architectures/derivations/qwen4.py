"""Qwen 4's experimental model: embeddings of n-grams, found by hashes, beside hyper-connections."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qconv.architectures.derivations.common import n_layer
from qconv.architectures.derivations.qwen import mtp_layers_or_zero
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation, rename

_NGRAMS = re.compile(r"layers\.\d{1,9}\.ple\.ple_embedding\.")
_BESIDE_MTP = ("fc_embedding.", "fc_hidden.", "hyper_connection_mixer.")


@rename
def qwen4_spelling(name: str, config: Mapping[str, Any]) -> str:
    """The n-grams' embedding stands beside the layers, what ``mtp.`` has beside its layer in that layer."""
    beside = name.removeprefix("mtp.")
    if beside != name and beside.startswith(_BESIDE_MTP):
        return f"layers.{config.get('num_hidden_layers')}.{beside}"
    return _NGRAMS.sub("ngrams.", name, count=1)


@condition
def has_ngrams(model: ModelContext) -> bool:
    return any(name.startswith("ngrams.") for name in model.tensors)


@derivation
def ngram_layers(model: ModelContext) -> list[int]:
    """Layers that take embeddings of n-grams; the config counts from one."""
    layers = model.find("ple_layer_ids")
    if not isinstance(layers, list):
        raise model.lacks(["ple_layer_ids"], layers, "a list of layers")
    return [layer - 1 for layer in layers]


@derivation
def ngram_shards(model: ModelContext) -> int:
    """Parts of the n-grams' embedding, of which there is one at least."""
    return max(1, model.count("split_ngram_parts"))


@derivation
def ngram_columns(model: ModelContext) -> int | None:
    """Width of the n-grams' embedding."""
    shard = model.tensors.get("ngrams.ngram_embedding.shard_0.weight")
    return shard.shape[-1] if shard else None


@derivation
def ngram_hash(model: ModelContext, name: str) -> list[int]:
    """Numbers of the hash, which the checkpoint has as a tensor."""
    numbers = model.integers(f"ngrams.{name}")
    if numbers is None:
        raise model.lacks([name], None, "a tensor of integers")
    return numbers


@derivation
def last_eos(model: ModelContext) -> int:
    """The token at which n-grams begin anew: the last of those that end a text."""
    ends = model.find("eos_token_id")
    return int(ends[-1]) if isinstance(ends, list) else model.integer("eos_token_id")


@derivation
def indexer_ratios(model: ModelContext) -> list[int]:
    """Keys the indexer takes together, layer by layer; none where attention is linear."""
    kinds, ratio = model.find("layer_types"), model.count("indexer_compress_ratio")
    if not isinstance(kinds, list) or len(kinds) != n_layer(model):
        raise model.lacks(["layer_types"], None, "every layer")
    own = [0 if kind == "linear_attention" else ratio for kind in kinds]
    return own + [ratio] * mtp_layers_or_zero(model)


@derivation
def indexer_query_rows(model: ModelContext) -> int:
    """Rows of the indexer's queries, above those of its keys."""
    return model.count("indexer_n_heads") * model.count("indexer_head_dim")
