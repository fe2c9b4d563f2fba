"""What adapters do to weights: products of low rank, added; rows or columns of a given length; rows replaced.

Everything is computed in float32, one weight's terms in one order, so that no bit depends on which rows are read
together.
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

_TILE = 1 << 16
"""Weights computed at a time: they and a term of theirs stay in a core's cache."""
_NUMPYS = 1 << 17
"""Bytes of numpy's own while it multiplies."""
_CHUNK = 1 << 20
"""Weights read at a time for the lengths of columns."""


@dataclass(frozen=True, slots=True)
class Factor(Keyed):
    """One factor of a product: a tensor seen as ``grid``, its axes in ``order``: (groups, rows, columns).

    ``picks``: the part of each axis of the grid that is used, (start, stop); all of them when it is empty.
    """

    tensor: LazyTensor
    grid: tuple[int, ...]
    order: tuple[int, ...]
    picks: tuple[tuple[int, int], ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        used = [stop - start for start, stop in self.picks] or self.grid
        groups, rows, columns = (used[axis] for axis in self.order)
        return groups, rows, columns

    def load(self) -> Float32:
        """The factor in float32; of the grid's first axis no more is read than is used."""
        per_cell = n_rows(self.tensor) // self.grid[0] if n_rows(self.tensor) % self.grid[0] == 0 else 0
        picks = self.picks or tuple((0, size) for size in self.grid)
        if per_cell:
            (first, last), picks = picks[0], ((0, picks[0][1] - picks[0][0]), *picks[1:])
            rows = self.tensor.prepare().read(first * per_cell, last * per_cell)
            grid = (last - first, *self.grid[1:])
        else:
            rows, grid = read_whole(self.tensor), self.grid
        part = rows.reshape(grid)[tuple(slice(*pick) for pick in picks)]
        return np.ascontiguousarray(as_float32(part.transpose(self.order), self.tensor.dtype))


@dataclass(frozen=True, slots=True)
class FactorTensor(Keyed):
    """A factor as a tensor of its own, ``scale`` times: (rows, columns), or (groups, rows, columns) of several."""

    factor: Factor
    scale: float
    loaded: Float32 | None = field(default=None, compare=False, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.factor.shape if self.factor.shape[0] > 1 else self.factor.shape[1:]

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def sources(self) -> tuple[str, ...]:
        return self.factor.tensor.sources

    @property
    def row_group(self) -> int:
        return 1

    @property
    def resident_bytes(self) -> int:
        return 4 * math.prod(self.shape)

    def memory(self, rows: int) -> int:
        return 0

    def prepare(self) -> Self:
        return self if self.loaded is not None else replace(self, loaded=self.factor.load() * np.float32(self.scale))

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        if self.loaded is None:
            return self.prepare().read(start, stop, out)
        target = buffer(self, stop - start, out)
        target[...] = self.loaded.reshape(-1, self.shape[-1])[start:stop]
        return target

    def describe(self) -> str:
        return f"{self.factor.tensor.describe()} by {self.scale:g}"


@dataclass(frozen=True, slots=True)
class LowRank(Keyed):
    """``left @ right * scale`` for each group, as a tensor of ``new_shape``, whose rows may be parts of the products'.

    ``prepare`` loads both factors, which are all it is made of.
    """

    left: Factor
    right: Factor
    scale: float
    new_shape: tuple[int, ...]
    loaded: tuple[Float32, Float32] | None = field(default=None, compare=False, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.new_shape

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def sources(self) -> tuple[str, ...]:
        return (*self.left.tensor.sources, *self.right.tensor.sources)

    @property
    def row_group(self) -> int:
        return 1

    @property
    def resident_bytes(self) -> int:
        return 4 * (math.prod(self.left.shape) + math.prod(self.right.shape))

    def memory(self, rows: int) -> int:
        width = self.right.shape[2]
        product = 0 if width == columns(self) else 4 * width * (rows * columns(self) // max(1, width) + 2)
        return product + 4 * max(_TILE, width) + _NUMPYS

    def prepare(self) -> Self:
        return self if self.loaded is not None else replace(self, loaded=(self.left.load(), self.right.load()))

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        if self.loaded is None:
            return self.prepare().read(start, stop, out)
        target = buffer(self, stop - start, out)
        if target.size:
            width = self.right.shape[2]
            first, last = start * target.shape[1] // width, -(-stop * target.shape[1] // width)
            product = target if width == target.shape[1] else np.empty((last - first, width), np.float32)
            self._multiply(self.loaded[0], self.loaded[1], first, product)
            if product is not target:
                skip = start * target.shape[1] - first * width
                target[...] = product.reshape(-1)[skip : skip + target.size].reshape(target.shape)
        return target

    def _multiply(self, left: Float32, right: Float32, first: int, product: Float32) -> None:
        """Rows of the products from ``first`` on, over all groups."""
        _, per_group, rank = left.shape
        step = max(1, _TILE // max(1, product.shape[1]))
        term = np.empty((min(step, len(product)), product.shape[1]), np.float32)
        row = 0
        with np.errstate(over="ignore", invalid="ignore"):  # the encoder's check finds what is not finite
            while row < len(product):
                group, within = divmod(first + row, per_group)
                count = min(step, len(product) - row, per_group - within)
                part, factors = product[row : row + count], left[group, within : within + count]
                part[...] = 0
                for k in range(rank):
                    np.multiply(factors[:, k, None], right[group, k], out=term[:count])
                    np.add(part, term[:count], out=part)
                part *= np.float32(self.scale)
                row += count

    def describe(self) -> str:
        return f"{self.left.tensor.describe()} times {self.right.tensor.describe()} by {self.scale:g}"


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
