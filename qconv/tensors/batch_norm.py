"""A batch norm as the factor and the shift of each channel that it comes to once training is over.

With ``w``, ``b`` its weight and bias and ``m``, ``v`` the running mean and variance, ``a = w / sqrt(v + 1e-5)`` and
``b - m * a``, in float32 as torch computes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import Combined, LazyTensor, buffer, names, refuse
from qconv.tensors.floats import as_float32
from qconv.tensors.registry import combination
from qconv.types import Rows, shape_text

_EPSILON = np.float32(1e-5)
"""torch's default."""


@dataclass(frozen=True, slots=True)
class BatchNorm(Combined):
    """The factor of (weight, variance), or the shift of (weight, variance, bias, mean); vectors."""

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.parts[0].shape

    def memory(self, rows: int) -> int:
        return 8 * self.shape[0] + sum(part.memory(1) for part in self.parts)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        weight, variance, *others = (as_float32(part.read(start, stop), part.dtype) for part in self.parts)
        with np.errstate(divide="ignore", invalid="ignore"):  # the encoder's check finds what is not finite
            factor = weight / np.sqrt(variance + _EPSILON)
            target[...] = others[0] - others[1] * factor if others else factor
        return target

    def describe(self) -> str:
        return f"batch_norm({names(self.parts)})"


def _batch_norm(label: str, parts: Sequence[LazyTensor]) -> LazyTensor:
    for part in parts:
        if part.shape != parts[0].shape or len(part.shape) != 1:
            raise refuse(label, part, f"{parts[0].sources[0]} is {shape_text(parts[0].shape)}")
    return BatchNorm(tuple(parts))


@combination
def scale_of_batch_norm(parts: Sequence[LazyTensor]) -> LazyTensor:
    """From weight and variance."""
    return _batch_norm("scale_of_batch_norm", parts)


@combination
def shift_of_batch_norm(parts: Sequence[LazyTensor]) -> LazyTensor:
    """From weight, variance, bias and mean."""
    return _batch_norm("shift_of_batch_norm", parts)
