"""How many weights a model has, and the label for it: ``8.0B``, ``128x21M``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qconv.types import TensorInfo

_UNITS = ((1e12, 1e-12, "T"), (1e9, 1e-9, "B"), (1e6, 1e-6, "M"), (-1.0, 1e-3, "K"))
"""A count above the first number is multiplied by the second."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of a model: all, those of no expert, those of one expert of each layer, and experts a layer."""

    total: int = 0
    shared: int = 0
    expert: int = 0
    experts: int = 0

    @property
    def label(self) -> str:
        """The size label of GGUF's naming convention."""
        if self.experts > 0:
            return f"{self.experts}x{rounded(self.shared + self.expert)}"
        return rounded(self.total)


def count(tensors: Iterable[TensorInfo]) -> Weights:
    """Weights by GGUF names: a tensor whose name holds ``_exps.`` has one matrix (or bias) an expert."""
    total = shared = expert = experts = stacks = 0
    for t in tensors:
        total += t.weights
        axis = -2 if ".bias" in t.name else -3
        if "_exps." in t.name and len(t.shape) >= 3 and t.shape[axis]:
            expert += t.weights // t.shape[axis]
            experts += t.shape[axis]
            stacks += 1
        else:
            shared += t.weights
    return Weights(total, shared, expert, experts // stacks if stacks else 0)


def rounded(weights: int) -> str:
    """At least two digits and a unit of thousands: ``494M``, ``1.2B``."""
    factor, unit = next((factor, unit) for least, factor, unit in _UNITS if weights > least)
    scaled = weights * factor
    digits = len(str(round(scaled)).lstrip("0"))
    return f"{scaled:.{max(2 - digits, 0)}f}{unit}"
