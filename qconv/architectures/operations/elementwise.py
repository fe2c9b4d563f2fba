"""Operations on each value, in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.architectures.operations.base import Derived, as_float32, buffer
from qconv.architectures.operations.exponential import exp
from qconv.architectures.registry import operation
from qconv.types import Recipe, Rows, TensorReader

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Elementwise(Derived):
    """``function(values, out=)`` on float32; ``label`` stands for it in descriptions."""

    label: str
    function: Callable[[Float32, Float32], object]

    @property
    def dtype(self) -> str:
        return "F32"

    def read(self, reader: TensorReader, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        rows = self.inner.read(reader, start, stop)
        with np.errstate(over="ignore", invalid="ignore"):  # the encoder's check finds what is not finite
            self.function(as_float32(rows, self.inner.dtype), target)
            if self.inner.dtype == "F16":  # which llama.cpp's converter, unlike BF16, keeps while it computes
                target[...] = target.astype(np.float16)
        return target

    def describe(self) -> str:
        return f"{self.label}({self.inner.describe()})"


@operation
def widen(recipe: Recipe) -> Recipe:
    """As float32, which integers become in any case."""
    return Elementwise(recipe, "widen", lambda x, out: np.copyto(out, x))


@operation
def add(recipe: Recipe, number: float) -> Recipe:
    """``x + number``: norms stored as their difference from one."""
    return Elementwise(recipe, f"add {number}", lambda x, out: np.add(x, np.float32(number), out=out))


@operation
def scale(recipe: Recipe, factor: float) -> Recipe:
    """``x * factor``, the factor rounded to float32 first as torch does."""
    return Elementwise(recipe, f"scale {factor}", lambda x, out: np.multiply(x, np.float32(factor), out=out))


@operation
def negative_exp(recipe: Recipe) -> Recipe:
    """``-exp(x)``: from the logarithm of a state's decay to the decay."""
    return Elementwise(recipe, "negative_exp", lambda x, out: np.negative(exp(x), out=out))
