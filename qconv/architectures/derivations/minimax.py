"""MiniMax."""

from __future__ import annotations

import numpy as np

from qconv.architectures.derivations.common import head_dim
from qconv.architectures.derivations.experts import leading_dense_layers
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation
from qconv.errors import PlanError
from qconv.files import read_object


@derivation
def rope_dimensions_minimax(model: ModelContext) -> int:
    """``rotary_dim``; transformers 5 gives the part of a head instead."""
    if model.find("rotary_dim") is not None:
        return model.count("rotary_dim")
    return int(model.number("rope_parameters.partial_rotary_factor", default=1.0) * head_dim(model))


@derivation
def leading_dense_minimax(model: ModelContext) -> int:
    """Layers before the first with experts: ``moe_layer_freq`` has a 0 for each without, transformers a word."""
    flags = model.find("moe_layer_freq")
    if not isinstance(flags, list):
        return leading_dense_layers(model)
    return next((layer for layer, flag in enumerate(flags) if flag), len(flags))


@derivation
def residual_scale_minimax(model: ModelContext) -> float:
    """What a layer's input is multiplied by where it is added again: one number for all parts, by either name.

    PlanError: the config gives several, or scales a part's output too, which GGUF has no keys for.
    """
    parts = ("full_attention", "linear_attention", "mlp")
    values = {}
    for kind in ("alpha", "beta"):
        names = [(f"layernorm_{part}_{kind}", f"{part.replace('attention', 'attn')}_{kind}_factor") for part in parts]
        values[kind] = {float(model.number(*pair)) for pair in names}
    if len(values["alpha"]) != 1 or values["beta"] != {1.0}:
        raise PlanError(f"config.json scales residuals by {values}, GGUF by one alpha for all", file=model.location)
    return values["alpha"].pop()


@derivation
def linear_layers_unless_usual(model: ModelContext, period: int) -> list[bool] | None:
    """Per layer, whether its attention is linear; none where llama.cpp takes it for granted: all but every eighth."""
    kinds = model.find("attn_type_list", "layer_types")
    if not isinstance(kinds, list):
        return None
    linear = [kind in (0, "linear_attention") for kind in kinds]
    return None if linear == [(layer + 1) % period != 0 for layer in range(len(kinds))] else linear


@derivation
def tokens_without_embedding(model: ModelContext) -> list[int] | None:
    """Tokens added to the vocabulary whose embedding is all zero: they must not be sampled.  None without any.

    PlanError: more rows lie behind the tokenizer's own tokens than would be looked through.
    """
    info = model.tensors.get("embed_tokens.weight")
    embedding = None if info is None else model.lazy.get(info.name)
    if embedding is None or model.folder is None or not model.folder.has("tokenizer.json"):
        return None
    first, rows = len(read_object(model.folder, "tokenizer.json")["model"]["vocab"]), embedding.shape[0]
    if rows - first > _LOOKED_THROUGH:
        raise PlanError(
            f"{rows - first} tokens have been added to the vocabulary, at most {_LOOKED_THROUGH} are looked at"
        )
    values = embedding.prepare().read(min(first, rows), rows)
    return [first + int(row) for row in np.flatnonzero(~values.any(axis=1))] or None


_LOOKED_THROUGH = 4096
