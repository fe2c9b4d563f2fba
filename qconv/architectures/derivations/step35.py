"""Step 3.5: lists in its config that go on over the layers for further tokens."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.architectures.derivations.common import head_dim
from qconv.architectures.derivations.glm import n_layer_nextn
from qconv.architectures.derivations.rope import parameters, rope_llama3
from qconv.architectures.model import ModelContext
from qconv.architectures.power import power
from qconv.architectures.registry import derivation, maker
from qconv.errors import PlanError


def _each_layer(model: ModelContext, key: str, missing: Any) -> list[Any]:
    """A list of the config, as long as there are layers; ``missing`` where it ends before."""
    values, layers = model.find(key) or [], n_layer_nextn(model)
    if not isinstance(values, list):
        raise model.lacks([key], values, "a list")
    return (values + [missing] * layers)[:layers]


@derivation
def rope_theta_step35(model: ModelContext, layer: int) -> Any:
    """The rotary base of a layer; the first layer's is that of layers with full attention, the second's of the others.

    A config with one number for all has none for the others.
    """
    theta = model.find("rope_theta")
    if isinstance(theta, list):
        return theta[layer] if layer < len(theta) else None
    return theta if layer == 0 else None


@derivation
def sliding_layers_step35(model: ModelContext) -> list[bool]:
    return [kind == "sliding_attention" for kind in _each_layer(model, "layer_types", "full_attention")]


@derivation
def by_kind_step35(model: ModelContext, key: str) -> list[int]:
    """A number of heads for each layer: those with a window have one of their own, in ``attention_other_setting``."""
    full = model.count(key)
    sliding = model.count(f"attention_other_setting.{key}", default=full)
    return [sliding if limited else full for limited in sliding_layers_step35(model)]


@derivation
def leading_dense_step35(model: ModelContext) -> int:
    """Layers before the first of those with experts, which ``moe_layers_enum`` lists in a string."""
    layers = model.find("moe_layers_enum")
    return (
        min((int(layer) for layer in layers.split(",")), default=0) if isinstance(layers, str) and layers.strip() else 0
    )


@derivation
def limits_step35(model: ModelContext, key: str) -> list[float] | None:
    """What each layer's activations are clamped to; 0 where they are not."""
    if model.find(key) is None:
        return None
    return [float(limit or 0.0) for limit in _each_layer(model, key, 0.0)]


@maker
def rope_factors_step35(model: ModelContext) -> NDArray[np.float32] | None:
    """Llama 3's factors for the part of a head that rotates in layers with full attention; 1 for the rest of it.

    Here llama.cpp's converter takes each frequency out of torch and goes on in double precision.
    """
    if not rope_llama3(model):
        return None
    kinds = model.find("layer_types")
    shares = model.find("partial_rotary_factors")
    if not isinstance(kinds, list) or not isinstance(shares, list) or "full_attention" not in kinds[: len(shares)]:
        raise PlanError("config.json names no part of a head that rotates with full attention", file=model.location)
    rope, size = parameters(model), head_dim(model)
    rotating = int(size * float(shares[kinds.index("full_attention")]))
    exponents = np.arange(0, rotating, 2, dtype=np.float32) / np.float32(rotating)
    frequencies = np.float32(1.0) / power(model.number("rope_parameters.rope_theta"), exponents)
    factor, low, high = (float(rope.get(k, d)) for k, d in _LLAMA3_DEFAULTS)
    context = int(rope.get("original_max_position_embeddings", 8192))
    factors = [1.0] * (size // 2)
    for place, wavelength in enumerate(2 * math.pi / float(frequency) for frequency in frequencies):
        if wavelength > context / low:
            factors[place] = factor
        elif wavelength >= context / high:
            smooth = (context / wavelength - low) / (high - low)
            factors[place] = 1.0 / ((1.0 - smooth) / factor + smooth)
    return np.array(factors, np.float32)


_LLAMA3_DEFAULTS = (("factor", 8.0), ("low_freq_factor", 1.0), ("high_freq_factor", 4.0))
