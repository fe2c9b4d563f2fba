"""ChatGLM, and GLM under transformers' names."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_embd, n_head
from qconv.architectures.derivations.rope import parameters
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def rope_dimensions_chatglm(model: ModelContext) -> int:
    """The part of a head that rotates: half of it where the config says nothing."""
    share = parameters(model).get("partial_rotary_factor")
    size = model.count("attention_dim", default=n_embd(model) // max(1, n_head(model)))
    return int(size * (0.5 if share is None else share))


@derivation
def rope_theta_chatglm(model: ModelContext) -> float:
    """The rotary base: so many times 10000, or as transformers writes it."""
    if model.find("rope_ratio") is not None:
        return 10000.0 * model.number("rope_ratio")
    return model.number("rope_parameters.rope_theta", default=10000.0)
