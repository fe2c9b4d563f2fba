"""MiniCPM: scales instead of learned sizes."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def residual_scale(model: ModelContext) -> float:
    """``scale_depth`` over the square root of the number of layers."""
    return float(model.number("scale_depth") / max(1, n_layer(model)) ** 0.5)


@derivation
def logit_scale_minicpm(model: ModelContext) -> float:
    """How much wider the model is than the one its learning rate was found on."""
    return model.number("hidden_size") / float(model.number("dim_model_base") or 1.0)
