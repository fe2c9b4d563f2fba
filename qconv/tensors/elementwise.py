"""Operations on each value, in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, Unary, buffer, columns
from qconv.tensors.exponential import exp
from qconv.tensors.floats import as_float32
from qconv.tensors.registry import operation
from qconv.types import Rows

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Elementwise(Unary):
    """``function(values, out=)`` on float32; ``label`` stands for it in descriptions."""

    label: str
    function: Callable[[Float32, Float32], object] = field(compare=False, repr=False)

    @property
    def dtype(self) -> str:
        return "F32"

    def memory(self, rows: int) -> int:
        temporaries = 4 * columns(self) * rows  # of a function; exp takes as many again, for tensors that are small
        return Unary.memory(self, rows) + 3 * temporaries

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        rows = self.inner.read(start, stop)
        with np.errstate(over="ignore", invalid="ignore"):  # the encoder's check finds what is not finite
            self.function(as_float32(rows, self.inner.dtype), target)
            if self.inner.dtype == "F16":  # which llama.cpp's converter, unlike BF16, keeps while it computes
                target[...] = target.astype(np.float16)
        return target

    def describe(self) -> str:
        return f"{self.label}({self.inner.describe()})"


@operation
def widen(tensor: LazyTensor) -> LazyTensor:
    """As float32, which integers become in any case."""
    return Elementwise(tensor, "widen", lambda x, out: np.copyto(out, x))


@dataclass(frozen=True, slots=True)
class Shifted(Elementwise):
    """``x + number``."""

    number: float


@operation
def add(tensor: LazyTensor, number: float) -> LazyTensor:
    """``x + number``: norms stored as their difference from one.  What was taken away before comes back unrounded."""
    if isinstance(tensor, Shifted) and tensor.number == -number:
        return widen(tensor.inner)
    term = np.float32(np.float16(number) if tensor.dtype == "F16" else number)  # torch rounds it to the tensor's type
    return Shifted(tensor, f"add {number}", lambda x, out: np.add(x, term, out=out), number)


@operation
def scale(tensor: LazyTensor, factor: float) -> LazyTensor:
    """``x * factor``, the factor rounded to float32 first as torch does."""
    return Elementwise(tensor, f"scale {factor}", lambda x, out: np.multiply(x, np.float32(factor), out=out))


@operation
def exponential(tensor: LazyTensor) -> LazyTensor:
    """``exp(x)``."""
    return Elementwise(tensor, "exponential", lambda x, out: np.copyto(out, exp(x)))


@operation
def negative_exp(tensor: LazyTensor) -> LazyTensor:
    """``-exp(x)``: from the logarithm of a state's decay to the decay."""
    return Elementwise(tensor, "negative_exp", lambda x, out: np.negative(exp(x), out=out))
