"""Rows of queries and keys, head by head, where layers differ in how many heads they have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.architectures.operations.base import Derived, buffer, refuse
from qconv.architectures.operations.rows import permute_rope, whole
from qconv.architectures.registry import operation
from qconv.types import Recipe, Rows, TensorReader

_BITS: dict[str, Any] = {"F32": np.uint32, "F16": np.uint16, "BF16": np.uint16}


@operation
def permute_rope_in_heads(recipe: Recipe, size: int) -> Recipe:
    """``permute_rope`` for as many heads of ``size`` rows as there are."""
    return permute_rope(recipe, whole("permute_rope_in_heads", recipe, recipe.shape[0], size))


@dataclass(frozen=True, slots=True)
class SecondHalfNegated(Derived):
    """``inner`` with the signs of the second half of every ``size`` rows turned round, in its own type."""

    size: int

    def read(self, reader: TensorReader, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        target[...] = self.inner.read(reader, start, stop)
        bits = target.view(_BITS[self.dtype])
        negated = np.arange(start, stop) % self.size >= self.size // 2
        bits[negated] ^= _BITS[self.dtype](1 << (8 * bits.itemsize - 1))
        return target

    def describe(self) -> str:
        return f"negate_second_half {self.size}({self.inner.describe()})"


@operation
def negate_second_half(recipe: Recipe, size: int) -> Recipe:
    """The second half of each head of ``size`` rows, times -1: it rotates the other way round."""
    whole("negate_second_half", recipe, recipe.shape[0], size)
    if recipe.dtype not in _BITS or len(recipe.shape) != 2:
        raise refuse("negate_second_half", recipe, f"it is no matrix of floats but {recipe.dtype}")
    return SecondHalfNegated(recipe, size)
