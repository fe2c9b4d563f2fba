"""OpenELM."""

from __future__ import annotations

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def n_layer_openelm(model: ModelContext) -> int:
    return model.count("num_transformer_layers")


@derivation
def feed_forward_openelm(model: ModelContext) -> list[int]:
    """Width of the feed-forward part by layer: so many times the model's, rounded to a multiple of the divisor.

    Up where rounding takes a tenth of it or more.
    """
    multipliers, divisor = model.find("ffn_multipliers"), model.count("ffn_dim_divisor")
    if not isinstance(multipliers, list):
        raise model.lacks(["ffn_multipliers"], multipliers, "a number for each layer")
    return [_rounded(multiplier * model.count("model_dim"), divisor) for multiplier in multipliers]


def _rounded(width: float, divisor: int) -> int:
    nearest = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * width else nearest
