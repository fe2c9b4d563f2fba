"""HRM-Text: two stacks of layers, run in cycles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation, rename

_LAYER = re.compile(r"([LH])_module\.layers\.(\d{1,9})\.")


@derivation
def layers_per_stack(model: ModelContext) -> int:
    """Layers of one stack: transformers names them so, the training code counts nothing else."""
    return model.count("num_layers_per_stack", default=0) or model.count("num_hidden_layers")


@derivation
def n_layer_hrm(model: ModelContext) -> int:
    """Layers of both stacks."""
    return 2 * layers_per_stack(model)


@derivation
def block_count_hrm(model: ModelContext) -> int:
    """Layers counted as often as they run: the high stack once in each of its cycles, the low one some times within."""
    return layers_per_stack(model) * model.count("H_cycles") * (model.count("L_cycles") + 1)


@rename
def stacks_hrm(name: str, config: Mapping[str, Any]) -> str:
    """The low stack's layers first, the high one's after them."""
    match = _LAYER.match(name)
    size = config.get("num_layers_per_stack") or config.get("num_hidden_layers")
    if match is None or not isinstance(size, int):
        return name
    return f"layers.{int(match[2]) + (size if match[1] == 'H' else 0)}.{name[match.end() :]}"
