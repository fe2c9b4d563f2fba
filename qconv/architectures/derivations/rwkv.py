"""RWKV 6 and 7, and Qwen 2 with their kind of attention."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qconv.architectures.derivations.common import n_embd
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation, rename

_LARGE = 4096
_SPELLINGS_6 = (("rwkv.blocks.", "layers."), ("rwkv.", ""), (".self_attn.", ".attention."))
_SPELLINGS = (
    (".blocks.", ".layers."),
    ("blocks.", "layers."),
    ("_lora.lora.0.weight", "_down"),
    ("_lora.lora.2.weight", "_up"),
    ("_lora.lora.2.bias", "0"),
    (".time_mixer.", "."),
    (".self_attn.", ".attention."),
    (".attn.", ".attention."),
    (".ffn.", ".feed_forward."),
)
_FIRST_VALUES = re.compile(r"layers\.0\.attention\.v(?:[012]|_down|_up)")


@derivation
def feed_forward_rwkv6(model: ModelContext) -> int:
    """``intermediate_size``, or 3.5 times the width in whole blocks of 32."""
    return model.count("intermediate_size", default=0) or int(n_embd(model) * 3.5) // 32 * 32


@derivation
def feed_forward_rwkv7(model: ModelContext) -> int:
    """``intermediate_size``, or four times the width."""
    return model.count("intermediate_size", default=0) or 4 * n_embd(model)


@derivation
def by_width_rwkv6(model: ModelContext, small: int, large: int) -> int:
    """``large`` at the width of the 7B model, ``small`` at others."""
    return large if n_embd(model) == _LARGE else small


@derivation
def by_width_qrwkv(model: ModelContext, key: str, small: int, large: int) -> int:
    """The rank ``key``, else ``large`` from the width of 4096 on, ``small`` below it."""
    return model.count(key, default=large if n_embd(model) >= _LARGE else small)


@derivation
def lora_rank_rwkv7(model: ModelContext, key: str, other: str, exponent: float, factor: float) -> int:
    """The rank ``key`` (``other`` in configs of flash-linear-attention), else ``factor * width**exponent`` in 32s."""
    given = model.find(key) or model.find(other)
    if given:
        return model.count(key, other)
    return int(max(1, round(n_embd(model) ** exponent * factor / 32))) * 32


@derivation
def gate_rank_arwkv(model: ModelContext) -> int:
    """128, or 0 without a gate."""
    return 0 if has_no_gate_rwkv(model) else 128


@condition
def has_no_gate_rwkv(model: ModelContext) -> bool:
    """Attention's output is as it comes."""
    return model.find("wkv_has_gate") is False


@rename
def rwkv6_spellings(name: str, config: Mapping[str, Any]) -> str:
    """RWKV's and Qwen's names of layers and attention as one."""
    for old, new in _SPELLINGS_6:
        name = name.replace(old, new)
    return name


@rename
def rwkv7_spellings(name: str, config: Mapping[str, Any]) -> str:
    """Both spellings of layers and their parts as one; the first layer's mix of values, which is never used, aside."""
    for old, new in _SPELLINGS:
        name = name.replace(old, new)
    return f"unused.{name}" if _FIRST_VALUES.fullmatch(name) else name
