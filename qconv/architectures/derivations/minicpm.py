"""MiniCPM: scales instead of learned sizes."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation


@derivation
def residual_scale(model: ModelContext) -> float:
    """``scale_depth`` over the square root of the number of layers."""
    return float(model.number("scale_depth") / max(1, n_layer(model)) ** 0.5)


@derivation
def logit_scale_minicpm(model: ModelContext) -> float:
    """How much wider the model is than the one its learning rate was found on."""
    return model.number("hidden_size") / float(model.number("dim_model_base") or 1.0)


@condition
def merges_patches_twice(model: ModelContext) -> bool:
    """Whether MiniCPM-V merges patches within the tower too: sixteen, and not four, become one embedding."""
    return minicpm_scale_factor(model) == 4


@derivation
def minicpm_scale_factor(model: ModelContext) -> int:
    """Of how many patches a side one embedding is made."""
    mode = model.find("preprocessor.downsample_mode") or "16x"
    factors = {"4x": 2, "16x": 4}
    if mode not in factors:
        raise model.lacks(["downsample_mode"], mode, " or ".join(factors))
    return factors[mode]


@derivation
def minicpm_merging_layers(model: ModelContext) -> list[int]:
    """After which layer patches are merged within the tower."""
    return [model.count("insert_layer_id", "vision.insert_layer_id", default=6)]
