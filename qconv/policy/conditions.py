"""The conditions a mix's rules may name, each a small function with the phrase that explains a decision.

To add one, write a function here; ``formats/mixes/*.toml`` then knows it by its name in ``CONDITIONS``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qconv.policy.hparams import HParams


@dataclass(frozen=True, slots=True)
class Situation:
    """What a condition may look at.

    ``index`` of ``count``: the tensor's place among those of its kind.  For attention values that is a running count,
    for feed-forward tensors a running count or, in models with experts, the layer; elsewhere the layer.
    """

    hparams: HParams
    shape: tuple[int, ...]
    default_weights: int
    """Weights in a block of the mix's default type."""
    index: int
    count: int
    has_imatrix: bool


Condition = Callable[[Situation], bool]

CONDITIONS: dict[str, tuple[Condition, str]] = {}
"""Name in a mix → (function, phrase)."""


def _condition(name: str, phrase: str) -> Callable[[Condition], Condition]:
    def register(function: Condition) -> Condition:
        CONDITIONS[name] = (function, phrase)
        return function

    return register


@_condition("more_bits", "first or last eighth of the layers, or every third between")
def more_bits(s: Situation) -> bool:
    eighth = s.count // 8
    return s.index < eighth or s.index >= 7 * s.count // 8 or (s.index - eighth) % 3 == 2


@_condition("first_eighth", "first eighth of the layers")
def first_eighth(s: Situation) -> bool:
    return s.index < s.count // 8


@_condition("first_sixteenth", "first sixteenth of the layers")
def first_sixteenth(s: Situation) -> bool:
    return s.index < s.count // 16


@_condition("first_2", "first two layers")
def first_2(s: Situation) -> bool:
    return s.index < 2


@_condition("first_4", "first four layers")
def first_4(s: Situation) -> bool:
    return s.index < 4


@_condition("gqa_4", "key and value heads shared by four or more")
def gqa_4(s: Situation) -> bool:
    return s.hparams.gqa >= 4


@_condition("8_experts", "eight experts")
def eight_experts(s: Situation) -> bool:
    return s.hparams.n_expert == 8


@_condition("70b", "70B model")
def is_70b(s: Situation) -> bool:
    return s.hparams.is_70b


@_condition("falcon", "Falcon")
def falcon(s: Situation) -> bool:
    return s.hparams.architecture == "falcon"


@_condition("has_imatrix", "importance matrix given")
def has_imatrix(s: Situation) -> bool:
    return s.has_imatrix


@_condition("row_misfit", "rows do not fit the default type")
def row_misfit(s: Situation) -> bool:
    return s.shape[-1] % s.default_weights != 0


@_condition("expert_tensor", "one matrix per expert")
def expert_tensor(s: Situation) -> bool:
    return len(s.shape) == 3 and s.shape[0] > 1
