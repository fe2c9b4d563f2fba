"""BERT's family: positions and classifiers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation, rename
from qconv.errors import PlanError


def labels(config: Mapping[str, Any]) -> list[str]:
    """Names of a classifier's classes in order; transformers' two for a model that does not classify count for none.

    PlanError: the classes are not numbered.
    """
    named = config.get("id2label")
    if isinstance(named, Mapping):
        try:
            names = [str(named[number]) for number in sorted(named, key=int)]
        except ValueError as e:
            raise PlanError(f"config.json's 'id2label' does not number classes: {e}") from e
    else:
        number = config.get("num_labels")
        names = [f"LABEL_{i}" for i in range(number if isinstance(number, int) and number <= 1 << 16 else 2)]
    return [] if len(names) == 2 and names[0] == "LABEL_0" else names


@derivation
def classifier_labels(model: ModelContext) -> list[str] | None:
    return labels(model.config) or None


@rename
def direct_classifier(name: str, config: Mapping[str, Any]) -> str:
    """A classifier that is one layer is the output layer of llama.cpp's, when its classes have names."""
    if name in ("classifier.weight", "classifier.bias") and labels(config):
        return name.replace("classifier.", "classifier.out_proj.")
    return name


@rename
def distilbert_spelling(name: str, config: Mapping[str, Any]) -> str:
    """DistilBERT's layers under BERT's names, a classifier's two layers under theirs."""
    match name.split("."):
        case ["layer", number, *rest] if ".".join(rest[:-1]) in _DISTILBERT:
            return f"encoder.layer.{number}.{_DISTILBERT['.'.join(rest[:-1])]}.{rest[-1]}"
    return name


_DISTILBERT = {
    "attention.q_lin": "attention.self.query",
    "attention.k_lin": "attention.self.key",
    "attention.v_lin": "attention.self.value",
    "attention.out_lin": "attention.output.dense",
    "sa_layer_norm": "attention.output.LayerNorm",
    "ffn.lin1": "intermediate.dense",
    "ffn.lin2": "output.dense",
    "output_layer_norm": "output.LayerNorm",
}


@derivation
def feed_forward_neobert(model: ModelContext) -> int:
    """Two thirds of ``intermediate_size``: the width of each half of SwiGLU."""
    return 2 * model.count("intermediate_size") // 3


@condition
def has_experts_nomic(model: ModelContext) -> bool:
    return bool(model.find("moe_every_n_layers"))


_NOMIC = {"prenorm": False, "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "rotary_emb_scale_base": None}


@derivation
def trained_positions_nomic(model: ModelContext) -> int:
    """Positions Nomic's models were trained for, of which ``n_positions`` promises four times as many.

    By llama.cpp: 2048 for versions 1 and 1.5, which say 8192, and 512 for version 2, which says 2048.  Newer configs
    say what it was trained for under another name.

    PlanError: a setting of the model is not the only one that llama.cpp computes.
    """
    for key, only in _NOMIC.items():
        if model.has(key) and (value := model.find(key)) != only:
            raise model.lacks([key], value, json.dumps(only))
    if not model.has("n_positions"):
        return model.count("max_position_embeddings")
    trained = model.count("max_trained_positions", default=2048)
    promised = model.count("n_positions")
    if trained != 2048 or promised not in (8192, 2048):
        raise model.lacks(["n_positions"], promised, "8192 or 2048 for 2048 trained ones")
    return promised // 4


@derivation
def position_offset(model: ModelContext) -> int:
    """Positions before the first token's: numbers up to the padding token's are never used."""
    padding = model.find("pad_token_id")
    return 0 if padding is None else 1 + model.integer("pad_token_id")


@derivation
def positions(model: ModelContext) -> int | None:
    """Positions of tokens."""
    positions = model.find("max_position_embeddings")
    return None if positions is None else model.integer("max_position_embeddings") - position_offset(model)
