"""What an adapter makes of a weight: a sum with its product, rows or columns of a given length, rows replaced.

Computed in float32, as ``low_rank``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import Keyed, LazyTensor, Unary, buffer, columns, memory_of_rows, n_rows, read_whole
from qconv.tensors.floats import as_float32, to_float32
from qconv.types import Rows

Float32 = NDArray[np.float32]

_CHUNK = 1 << 20
"""Weights read at a time for the lengths of columns."""


@dataclass(frozen=True, slots=True)
class Sum(Keyed):
    """``inner`` in float32 plus ``delta``, of the same shape."""

    inner: LazyTensor
    delta: LazyTensor

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inner.shape

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def sources(self) -> tuple[str, ...]:
        return (*self.inner.sources, *self.delta.sources)

    @property
    def row_group(self) -> int:
        return self.inner.row_group

    @property
    def resident_bytes(self) -> int:
        return self.inner.resident_bytes + self.delta.resident_bytes

    def memory(self, rows: int) -> int:
        return memory_of_rows(self.inner, rows) + memory_of_rows(self.delta, rows)

    def prepare(self) -> Self:
        inner, delta = self.inner.prepare(), self.delta.prepare()
        return self if inner is self.inner and delta is self.delta else replace(self, inner=inner, delta=delta)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        to_float32(self.inner.dtype, self.inner.read(start, stop), target)
        delta = as_float32(self.delta.read(start, stop), self.delta.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            np.add(target, delta, out=target)
        return target

    def describe(self) -> str:
        return f"{self.inner.describe()} plus {self.delta.describe()}"


@dataclass(frozen=True, slots=True)
class Magnitude(Unary):
    """``inner`` in float32, each of its vectors times ``magnitude`` over the length of that vector of ``basis``.

    What DoRA makes of a sum (Liu et al. 2024, equation 5; ``merge_safe`` in PEFT's ``lora/variants.py``).  ``across``:
    the vectors are columns, which ``prepare`` measures by reading all of ``basis``; else runs of ``span`` rows.
    """

    basis: LazyTensor
    magnitude: LazyTensor
    span: int
    across: bool
    factors: Float32 | None = field(default=None, compare=False, repr=False)

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def sources(self) -> tuple[str, ...]:
        return (*self.inner.sources, *self.magnitude.sources)

    @property
    def row_group(self) -> int:
        return math.lcm(self.inner.row_group, self.span)

    @property
    def resident_bytes(self) -> int:
        own = 0 if self.basis is self.inner else self.basis.resident_bytes
        return self.inner.resident_bytes + own + 4 * math.prod(self.magnitude.shape)

    def memory(self, rows: int) -> int:
        rows = min(n_rows(self), rows + 2 * self.span)
        return memory_of_rows(self.inner, rows) + memory_of_rows(self.basis, rows) + 20 * columns(self) * rows

    def prepare(self) -> Self:
        """With the factors at hand, or the magnitudes where rows give the rest."""
        if self.factors is not None:
            return self
        inner = self.inner.prepare()
        basis = inner if self.basis is self.inner else self.basis.prepare()
        factors = as_float32(read_whole(self.magnitude), self.magnitude.dtype).reshape(-1)
        if self.across:
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                factors = factors / _lengths_of_columns(basis)
        return replace(self, inner=inner, basis=basis, factors=factors)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        if self.factors is None:
            return self.prepare().read(start, stop, out)
        target = buffer(self, stop - start, out)
        to_float32(self.inner.dtype, self.inner.read(start, stop), target)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            if self.across:
                target *= self.factors
            elif target.size:
                first, last = start // self.span, -(-stop // self.span)
                basis = as_float32(self.basis.read(first * self.span, last * self.span), self.basis.dtype)
                squares = np.square(basis.reshape(last - first, -1), dtype=np.float64).sum(axis=1)
                factors = self.factors[first:last] / np.sqrt(squares).astype(np.float32)
                target *= factors[np.arange(start, stop) // self.span - first, None]
        return target

    def describe(self) -> str:
        way = "columns" if self.across else "rows"
        return f"{way} of length {self.magnitude.describe()}: {self.inner.describe()}"


def _lengths_of_columns(tensor: LazyTensor) -> Float32:
    step = max(1, _CHUNK // max(1, columns(tensor)))
    total = np.zeros(columns(tensor), np.float64)
    for start in range(0, n_rows(tensor), step):
        part = as_float32(tensor.read(start, min(n_rows(tensor), start + step)), tensor.dtype)
        squares = np.square(part, dtype=np.float64)
        squares[0] += total
        np.add.reduce(squares, axis=0, out=total)  # along the first axis: one row after another
    return np.sqrt(total).astype(np.float32)


@dataclass(frozen=True, slots=True)
class ReplacedRows(Unary):
    """``inner`` in float32 with rows of other values at ``numbers``, which ``prepare`` loads."""

    numbers: tuple[int, ...]
    rows: LazyTensor
    loaded: Float32 | None = field(default=None, compare=False, repr=False)

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def sources(self) -> tuple[str, ...]:
        return (*self.inner.sources, *self.rows.sources)

    @property
    def resident_bytes(self) -> int:
        return self.inner.resident_bytes + 4 * math.prod(self.rows.shape)

    def prepare(self) -> Self:
        if self.loaded is not None:
            return self
        return replace(self, inner=self.inner.prepare(), loaded=as_float32(read_whole(self.rows), self.rows.dtype))

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        if self.loaded is None:
            return self.prepare().read(start, stop, out)
        target = buffer(self, stop - start, out)
        to_float32(self.inner.dtype, self.inner.read(start, stop), target)
        for at, number in enumerate(self.numbers):
            if start <= number < stop:
                target[number - start] = self.loaded[at]
        return target

    def describe(self) -> str:
        return f"{len(self.numbers)} rows of {self.rows.describe()} in {self.inner.describe()}"
