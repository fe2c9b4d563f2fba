"""Layers that predict further tokens (multi-token prediction): a file without them, or of them alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qconv.architectures.derivations.common import n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.schema import Table
from qconv.errors import PlanError, UnsupportedError

_LAYER = re.compile(r"layers\.(\d+)\.")
_COUNTS = ("num_nextn_predict_layers", "mtp_num_hidden_layers")
_SHARED = ("embed_tokens", "word_embeddings", "embeddings", "embed", "norm", "norm_f", "lm_head", "head")
"""What these layers have from the model, as architectures call it."""
_BESIDE = "further."
"""What tables call a part of these layers that GGUF has once, beside the layers."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is left of a model: source names by the tables' names, its config, and the first layer there is."""

    names: dict[str, str]
    config: dict[str, Any]
    first: int
    left_out: list[tuple[str, str]]


def select(names: Mapping[str, str], config: Mapping[str, Any], table: Table, mtp: str, location: str) -> Selection:
    """``mtp``: ``only`` these layers and what they share with the model, or ``none`` of them.

    UnsupportedError: llama.cpp has no such files of this architecture.  PlanError: there is no such layer.
    """
    if not table.mtp:
        raise UnsupportedError(f"--mtp {mtp} is not possible for {table.name}", file=location, hint="leave it out")
    own = n_layer(ModelContext(config, table=table.name))
    layers = {name: int(match[1]) for name in names if (match := _LAYER.match(name))}
    further = {name for name, layer in layers.items() if layer >= own}
    further |= {name for name in names if name.startswith(_BESIDE)}
    if mtp == "only" and not further:
        raise PlanError("has no layers that predict further tokens", file=location, hint="leave --mtp out")
    left_out = further if mtp == "none" else names.keys() - further - {f"{name}.weight" for name in _SHARED}
    return Selection(
        {name: source for name, source in names.items() if name not in left_out},
        {k: v for k, v in config.items() if mtp == "only" or k not in _COUNTS},
        own if mtp == "only" else 0,
        [(source, f"--mtp {mtp}") for name, source in names.items() if name in left_out],
    )
