"""How far apart two tensors are: sums gathered row block by row block, measures computed from them.

With ``a`` the reference and ``b`` the other, over all ``n`` weights:

- RMSE ``sqrt(sum (a - b)^2 / n)``, in the weights' own unit; relative RMSE: divided by ``sqrt(sum a^2 / n)``;
- worst absolute error ``max |a - b|``;
- signal-to-quantization-noise ratio ``10 log10(sum a^2 / sum (a - b)^2)``, in dB;
- cosine similarity ``sum a b / sqrt(sum a^2 sum b^2)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def _sum_of_products(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """``sum a b``: products and row sums in float64, so that neither 1e30 nor a billion weights lose it."""
    return float(np.einsum("ij,ij->", a, b, dtype=np.float64, casting="same_kind", optimize=False))


@dataclass(slots=True)
class Error:
    """Sums over the weights seen so far; add two with ``+=``, feed row blocks with ``add``."""

    weights: int = 0
    signal: float = 0.0
    """Sum of a^2."""
    other: float = 0.0
    """Sum of b^2."""
    noise: float = 0.0
    """Sum of (a - b)^2."""
    product: float = 0.0
    """Sum of a b."""
    worst: float = 0.0

    def add(self, a: NDArray[np.float32], b: NDArray[np.float32]) -> None:
        """Rows of the reference and of the other, both ``(rows, columns)``; a difference float32 cannot hold is inf."""
        if not a.size:
            return
        with np.errstate(over="ignore", invalid="ignore"):  # infinite and undefined measures say it
            difference = a - b
            self.weights += a.size
            self.signal += _sum_of_products(a, a)
            self.other += _sum_of_products(b, b)
            self.noise += _sum_of_products(difference, difference)
            self.product += _sum_of_products(a, b)
        np.abs(difference, out=difference)
        worst = float(difference.max())
        if worst > self.worst or math.isnan(worst):  # a NaN is the worst of all and stays
            self.worst = worst

    def __iadd__(self, more: Error) -> Error:
        self.weights += more.weights
        self.signal += more.signal
        self.other += more.other
        self.noise += more.noise
        self.product += more.product
        if more.worst > self.worst or math.isnan(more.worst):
            self.worst = more.worst
        return self

    @property
    def same(self) -> bool:
        """Every pair of weights is equal as numbers."""
        return self.noise == 0.0 and self.worst == 0.0

    @property
    def rmse(self) -> float:
        return math.sqrt(self.noise / self.weights) if self.weights else 0.0

    @property
    def relative_rmse(self) -> float:
        if self.noise == 0:
            return 0.0
        return math.sqrt(self.noise / self.signal) if self.signal else math.inf

    @property
    def sqnr(self) -> float:
        """dB; infinite where nothing differs, negative infinite against nothing or where the error is infinite."""
        if self.noise == 0:
            return math.inf
        ratio = self.signal / self.noise
        return 10 * math.log10(ratio) if ratio else -math.inf

    @property
    def cosine(self) -> float:
        if self.same:
            return 1.0
        scale = math.sqrt(self.signal) * math.sqrt(self.other)
        return self.product / scale if scale else 0.0
