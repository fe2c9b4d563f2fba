"""Operations that change a tensor's shape: reshapes keep the order of values, transposes do not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.architectures.operations.base import NUMPY_TYPES, Derived, buffer, columns, refuse
from qconv.architectures.registry import operation
from qconv.types import Recipe, Rows, TensorReader

_CHUNK = 4 << 20
"""Bytes of source rows a transpose reads at a time."""


@dataclass(frozen=True, slots=True)
class Reshape(Derived):
    """The same values in another shape."""

    new_shape: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.new_shape

    def read(self, reader: TensorReader, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        old, new = columns(self.inner), columns(self)
        if old == new:
            return self.inner.read(reader, start, stop, out)
        first, last = start * new // old, -(-stop * new // old)
        values = self.inner.read(reader, first, last).reshape(-1)
        skip = start * new - first * old
        return values[skip : skip + (stop - start) * new].reshape(stop - start, new)

    def describe(self) -> str:
        return f"reshape{list(self.new_shape)}({self.inner.describe()})"


def reshape(recipe: Recipe, shape: tuple[int, ...]) -> Recipe:
    """``recipe`` as ``shape``; PlanError when it holds another number of values."""
    if math.prod(shape) != math.prod(recipe.shape):
        raise refuse("reshape", recipe, f"it does not make {' x '.join(map(str, shape))}")
    return Reshape(recipe, shape)


@operation
def squeeze(recipe: Recipe) -> Recipe:
    """Without dimensions of one."""
    return Reshape(recipe, tuple(n for n in recipe.shape if n != 1))


@operation
def as_columns(recipe: Recipe) -> Recipe:
    """With a further last dimension of one."""
    return Reshape(recipe, (*recipe.shape, 1))


@operation
def groups(recipe: Recipe, count: int) -> Recipe:
    """As ``count`` rows."""
    values = math.prod(recipe.shape)
    if count <= 0 or values % count:
        raise refuse("groups", recipe, f"{values} values are no {count} rows")
    return Reshape(recipe, (count, values // count))


@dataclass(frozen=True, slots=True)
class Transpose(Derived):
    """The last two dimensions exchanged.

    Any range of rows can be read, but each reads the source matrices it lies in: reading all rows of a matrix at once
    reads the source once.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.inner.shape[:-2], self.inner.shape[-1], self.inner.shape[-2])

    @property
    def held(self) -> int:
        return math.prod(self.shape[-2:]) * int(np.dtype(NUMPY_TYPES[self.dtype]).itemsize)

    def read(self, reader: TensorReader, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        source_rows, source_columns = self.inner.shape[-2:]
        target = buffer(self, stop - start, out)
        step = max(1, _CHUNK // (source_columns * target.itemsize))
        row = start
        while row < stop:
            matrix, first = divmod(row, source_columns)
            count = min(stop - row, source_columns - first)
            part = target[row - start : row - start + count]
            for a in range(0, source_rows, step):
                b = min(source_rows, a + step)
                base = matrix * source_rows
                rows = self.inner.read(reader, base + a, base + b)
                part[:, a:b] = rows[:, first : first + count].T
            row += count
        return target

    def describe(self) -> str:
        return f"transpose({self.inner.describe()})"


@operation
def transpose(recipe: Recipe) -> Recipe:
    """The last two dimensions exchanged; a one-dimensional tensor stays as it is."""
    return recipe if len(recipe.shape) < 2 else Transpose(recipe)
