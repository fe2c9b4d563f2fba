"""Derivations and conditions many architectures share."""

from __future__ import annotations

import builtins
import math
from typing import Any

from qconv.architectures import evaluate
from qconv.architectures.model import ModelContext, class_name
from qconv.architectures.registry import condition, derivation
from qconv.architectures.schema import Argument
from qconv.architectures.table import table


@derivation
def n_layer(model: ModelContext) -> int:
    """Layers of the model, those predicting further tokens not counted."""
    return model.count("n_layers", "num_hidden_layers", "n_layer", "num_layers")


@derivation
def block_count(model: ModelContext) -> int:
    """Layers as the table counts them: see its ``layers``."""
    return int(evaluate.derive(model, table(model.table).layers))


@derivation
def n_expert(model: ModelContext) -> int:
    """Experts of a layer; 0 when the config names none."""
    return model.count("num_local_experts", "num_experts", "n_routed_experts", default=0)


@derivation
def n_head(model: ModelContext) -> int:
    return model.count("num_attention_heads", "n_head", "n_heads")


@derivation
def n_head_kv(model: ModelContext) -> int:
    """Heads of keys and values; as many as of queries when the config says nothing."""
    return model.count("num_key_value_heads", "n_kv_heads", default=n_head(model))


@derivation
def n_embd(model: ModelContext) -> int:
    return model.count("hidden_size", "n_embd", "dim")


@derivation
def head_dim(model: ModelContext) -> int:
    """Size of a head: ``head_dim``, or the hidden size shared out among the query heads."""
    size = model.find("head_dim")
    return model.count("head_dim") if size is not None else n_embd(model) // max(1, n_head(model))


@derivation
def half_head_dim(model: ModelContext) -> int:
    return head_dim(model) // 2


@derivation
def sum(model: ModelContext, *of: Argument) -> int | float:
    """All terms added: config keys, derivations or numbers."""
    return builtins.sum(_numbers(model, of))


@derivation
def product(model: ModelContext, *of: Argument) -> int | float:
    """All factors multiplied: config keys, derivations or numbers; an integer when all are."""
    return math.prod(_numbers(model, of))


@derivation
def square_root(model: ModelContext, of: Argument) -> float:
    """Of a config key, a derivation or a number."""
    return math.sqrt(evaluate.argument(model, of))


@derivation
def quotient(model: ModelContext, numerator: Argument, denominator: Argument) -> int:
    """Rounded down."""
    over, under = _numbers(model, (numerator, denominator))
    return int(over // under)


@derivation
def copy(model: ModelContext, *of: str) -> Any:
    """The value of another config key."""
    return model.find(*of)


@derivation
def length(model: ModelContext, key: str) -> int:
    """How many a list of the config holds; none without it."""
    listed = model.find(key)
    if listed is not None and not isinstance(listed, list):
        raise model.lacks([key], listed, "a list")
    return len(listed or ())


@derivation
def rounded_product(model: ModelContext, *of: Argument) -> int:
    """Factors multiplied, rounded to the nearest integer."""
    return round(product(model, *of))


@derivation
def truncated_product(model: ModelContext, *of: Argument) -> int:
    """All factors multiplied, cut to an integer, as for a part of the head that rotates."""
    return int(math.prod(_numbers(model, of)))


@derivation
def file_type(model: ModelContext) -> int:
    """GGUF's file type of an unquantized file: by the first tensor with two dimensions or more, else F16."""
    if model.find("quantization_config.quant_method") == "mxfp4":
        return 38
    for info in model.tensors.values():
        if len(info.shape) >= 2 and info.dtype in ("BF16", "F16"):
            return 32 if info.dtype == "BF16" else 1
    return 0 if any(info.dtype == "F32" for info in model.tensors.values()) else 1


@condition
def tied_embeddings(model: ModelContext) -> bool:
    """Output and token embedding are one tensor; transformers' default."""
    tied = model.find("tie_word_embeddings")
    return tied is None or bool(tied)


def _numbers(model: ModelContext, of: tuple[Argument, ...]) -> list[int | float]:
    return [evaluate.argument(model, value) for value in of]


@condition
def no_output_layer(model: ModelContext) -> bool:
    """The output is tied to the embedding, or the class is the model without its head."""
    return class_name(model).endswith("Model") or tied_embeddings(model)


@condition
def untied_embeddings(model: ModelContext) -> bool:
    return not tied_embeddings(model)
