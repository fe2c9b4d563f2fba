"""Rotary position embeddings: scaling, frequencies, sections."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.architectures.derivations.common import head_dim
from qconv.architectures.model import ModelContext
from qconv.architectures.power import power
from qconv.architectures.registry import derivation, maker

_GGUF_TYPES = {"linear": "linear", "yarn": "yarn", "su": "longrope", "longrope": "longrope"}


def parameters(model: ModelContext) -> Mapping[str, Any]:
    """Parameters of layers with full attention."""
    rope = model.find("rope_parameters") or {}
    full = rope.get("full_attention", rope)
    return full if isinstance(full, Mapping) else {}


def rope_type(model: ModelContext) -> str | None:
    kind = parameters(model).get("rope_type")
    return kind.lower() if isinstance(kind, str) else None


@derivation
def rope_scaling_type(model: ModelContext) -> str | None:
    """GGUF's word for it; none for kinds that are no scaling, or are done by factors (llama3) or the table."""
    kind = rope_type(model)
    if kind in ("linear", "yarn") and parameters(model).get("factor") is None:
        return None
    return _GGUF_TYPES.get(kind or "")


@derivation
def rope_scaling_factor(model: ModelContext) -> float | None:
    return parameters(model).get("factor") if rope_scaling_type(model) in ("linear", "yarn") else None


@derivation
def yarn(model: ModelContext, *of: str) -> float | None:
    """The first of the parameters that is there, when the scaling is YaRN."""
    if rope_scaling_type(model) != "yarn":
        return None
    rope = parameters(model)
    return next((rope[key] for key in of if key in rope), None)


@derivation
def rope_theta(model: ModelContext) -> float | None:
    theta = parameters(model).get("rope_theta")
    if theta is not None and not isinstance(theta, int | float):
        raise model.lacks(["rope_theta"], theta, "a number")
    return theta


@derivation
def mrope_sections(model: ModelContext) -> list[int] | None:
    """Dimensions that turn with time, height, width and a spare one."""
    sections = model.find("rope_parameters.mrope_section")
    return (list(sections) + [0] * 4)[:4] if isinstance(sections, list) else None


def rope_llama3(model: ModelContext) -> bool:
    return rope_type(model) == "llama3"


@maker
def rope_factors_llama3(model: ModelContext) -> NDArray[np.float32] | None:
    """What each frequency is divided by, by transformers' ``_compute_llama3_parameters``.

    Wavelengths are float32, as torch computes them, where a number over a tensor is the tensor's reciprocal times the
    number; low ones stay, high ones are divided by ``factor``, between them it is interpolated.
    """
    if not rope_llama3(model):
        return None
    rope = parameters(model)
    size = head_dim(model)
    exponents = np.arange(0, size, 2, dtype=np.float32) / np.float32(size)
    frequencies = np.float32(1.0) / power(rope.get("rope_theta", 10000.0), exponents)
    factor, low, high = (float(rope.get(k, d)) for k, d in _LLAMA3_DEFAULTS)
    context = rope.get("original_max_position_embeddings", 8192)
    factors = []
    for wavelength in np.float32(1) / frequencies * np.float32(2 * math.pi):
        if wavelength < context / high:
            factors.append(np.float32(1))
        elif wavelength > context / low:
            factors.append(np.float32(factor))
        else:
            smooth = (np.float32(1) / wavelength * np.float32(context) - np.float32(low)) / np.float32(high - low)
            factors.append(np.float32(1) / ((np.float32(1) - smooth) / np.float32(factor) + smooth))
    return np.array(factors, np.float32)


_LLAMA3_DEFAULTS = (("factor", 8.0), ("low_freq_factor", 1.0), ("high_freq_factor", 4.0))


@maker
def rope_factors_long(model: ModelContext) -> NDArray[np.float32] | None:
    """LongRoPE's factors for long contexts."""
    return _listed(model, "long_factor")


@maker
def rope_factors_short(model: ModelContext) -> NDArray[np.float32] | None:
    """LongRoPE's factors up to the original context."""
    return _listed(model, "short_factor")


def _listed(model: ModelContext, key: str) -> NDArray[np.float32] | None:
    """A list of factors; PlanError when only one of the two is there, or its length is not half a head's rotation."""
    rope = parameters(model)
    if not rope.get("long_factor") and not rope.get("short_factor"):
        return None
    values = rope.get(key)
    if not isinstance(values, list) or not all(isinstance(v, int | float) for v in values):
        raise model.lacks([f"rope_scaling.{key}"], values, "a list of numbers")
    wanted = model.count("qk_rope_head_dim", default=head_dim(model)) // 2
    if len(values) != wanted:
        raise model.lacks([f"rope_scaling.{key}"], f"{len(values)} numbers", f"{wanted} of them")
    return np.array(values, np.float32)


@derivation
def rotating_part(model: ModelContext, kind: str) -> int | None:
    """Dimensions of a head that rotate in layers of ``kind``, all of it where their parameters name no part.

    None where ``rope_parameters`` has none for layers of that kind.
    """
    rope = parameters(model) if kind == "full_attention" else model.find(f"rope_parameters.{kind}")
    if not isinstance(rope, Mapping):
        return None
    share = rope.get("partial_rotary_factor")
    if share is not None and not isinstance(share, int | float):
        raise model.lacks(["partial_rotary_factor"], share, "a number")
    return int(head_dim(model) * (1.0 if share is None else share))
