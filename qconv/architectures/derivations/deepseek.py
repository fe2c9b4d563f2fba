"""DeepSeek: its latent attention's YaRN, and layers behind the last."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation, rename

_LAYER = re.compile(r"layers\.(\d{1,9})\.")


@derivation
def yarn_log_multiplier(model: ModelContext) -> float | None:
    """A tenth of ``mscale_all_dim``: what attention grows by with the logarithm of the context's."""
    found = model.find("rope_parameters.mscale_all_dim")
    return None if found is None else 0.1 * model.number("rope_parameters.mscale_all_dim")


@rename
def further_layers(name: str, config: Mapping[str, Any]) -> str:
    """``layers.N.x`` from the model's number of layers on is ``further.N.x``: it predicts a further token."""
    match, layers = _LAYER.match(name), config.get("num_hidden_layers")
    if match is None or not isinstance(layers, int) or int(match[1]) < layers:
        return name
    return "further." + name.removeprefix("layers.")
