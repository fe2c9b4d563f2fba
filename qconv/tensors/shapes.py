"""Operations that change a tensor's shape: reshapes keep the order of values, transposes do not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import (
    LazyTensor,
    ReadsColumns,
    RowRange,
    Unary,
    buffer,
    bytes_of_rows,
    columns,
    memory_of_rows,
    n_rows,
    refuse,
)
from qconv.tensors.dtypes import is_blocks, row_bytes
from qconv.tensors.registry import operation
from qconv.tensors.spooled import Spool, is_remote
from qconv.tensors.strips import strip_bytes, strips
from qconv.types import Rows, shape_text

_CHUNK = 4 << 20
"""Bytes of source rows a transpose reads at a time."""
_HELD = 128 << 20
"""Bytes of a transposed matrix that is held, at most: those of models of 70 B weights in 4 bits are smaller."""


@dataclass(frozen=True, slots=True)
class Reshape(Unary):
    """The same values in another shape."""

    new_shape: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.new_shape

    @property
    def row_group(self) -> int:
        old, new = columns(self.inner), columns(self)
        return max(1, self.inner.row_group * old // max(1, new))

    def memory(self, rows: int) -> int:
        old, new = columns(self.inner), columns(self)
        return self.inner.memory(rows) if old == new else memory_of_rows(self.inner, rows * new // max(1, old) + 2)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        old, new = columns(self.inner), columns(self)
        if old == new:
            return self.inner.read(start, stop, out)
        first, last = start * new // old, -(-stop * new // old)
        values = self.inner.read(first, last).reshape(-1)
        skip = start * new - first * old
        return values[skip : skip + (stop - start) * new].reshape(stop - start, new)

    def describe(self) -> str:
        return f"reshape{list(self.new_shape)}({self.inner.describe()})"


def reshape(tensor: LazyTensor, shape: tuple[int, ...]) -> LazyTensor:
    """``tensor`` as ``shape``; PlanError when it holds another number of values."""
    if math.prod(shape) != math.prod(tensor.shape):
        raise refuse("reshape", tensor, f"it does not make {shape_text(shape)}")
    return Reshape(tensor, shape)


@operation
def squeeze(tensor: LazyTensor) -> LazyTensor:
    """Without dimensions of one."""
    return Reshape(tensor, tuple(n for n in tensor.shape if n != 1))


@operation
def flatten(tensor: LazyTensor) -> LazyTensor:
    """As a list of all its values."""
    return Reshape(tensor, (math.prod(tensor.shape),))


@operation
def rows_of_grid(tensor: LazyTensor) -> LazyTensor:
    """The vectors of a grid, (height, width, columns), one after another."""
    height, width, size = tensor.shape
    return Reshape(tensor, (height * width, size))


@operation
def as_columns(tensor: LazyTensor) -> LazyTensor:
    """With a further last dimension of one."""
    return Reshape(tensor, (*tensor.shape, 1))


@operation
def as_channels(tensor: LazyTensor) -> LazyTensor:
    """A list of channels as (1, channels, 1, 1)."""
    return Reshape(tensor, (1, math.prod(tensor.shape), 1, 1))


@operation
def as_convolution(tensor: LazyTensor) -> LazyTensor:
    """Filters of each channel, (channels, width) or (channels, 1, width), as (1, channels, 1, width)."""
    if len(tensor.shape) not in (2, 3) or (len(tensor.shape) == 3 and tensor.shape[1] != 1):
        raise refuse("as_convolution", tensor, "it holds no one filter for each channel")
    return Reshape(tensor, (1, tensor.shape[0], 1, tensor.shape[-1]))


@operation
def as_depthwise(tensor: LazyTensor) -> LazyTensor:
    """Filters of each channel, (channels, 1, width), as (1, 1, channels, width)."""
    channels, _, width = tensor.shape
    return reshape(tensor, (1, 1, channels, width))


@operation
def groups(tensor: LazyTensor, count: int) -> LazyTensor:
    """As ``count`` rows."""
    values = math.prod(tensor.shape)
    if count <= 0 or values % count:
        raise refuse("groups", tensor, f"{values} values are no {count} rows")
    return Reshape(tensor, (count, values // count))


@dataclass(frozen=True, slots=True)
class Transpose(Unary):
    """The last two dimensions exchanged.

    ``prepare`` reads a matrix of up to ``_HELD`` bytes once, and holds it.  Of larger ones and of stacks any range of
    rows can be read: where the source reads columns by themselves, strips of them are kept for the ranges around; what
    comes over a line is fetched once for that, a matrix at a time.
    Otherwise each range reads the source matrices it lies in: all rows of a matrix at once read it once.
    """

    held: Rows | None = field(default=None, compare=False, repr=False)
    spool: Spool | None = field(default=None, compare=False, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.inner.shape[:-2], self.inner.shape[-1], self.inner.shape[-2])

    @property
    def row_group(self) -> int:
        return 1 if self._by_strips else self.shape[-2]

    @property
    def resident_bytes(self) -> int:
        return self.inner.resident_bytes + (self._bytes if self._is_held else 0)

    @property
    def _bytes(self) -> int:
        return bytes_of_rows(self, n_rows(self))

    @property
    def _is_held(self) -> bool:
        return self._by_strips and len(self.shape) == 2 and self._bytes <= _HELD

    def prepare(self) -> Self:
        inner = self.inner.prepare()
        if self._is_spooled and self.spool is None:
            return replace(self, inner=inner, spool=Spool())
        if not self._is_held or self.held is not None:
            return self if inner is self.inner else replace(self, inner=inner)
        rows = buffer(self, n_rows(self), None)
        for first in range(0, inner.shape[0], self._step):
            last = min(inner.shape[0], first + self._step)
            rows[:, first:last] = inner.read(first, last).T
        return replace(self, inner=inner, held=rows)

    def reads(self, start: int, stop: int) -> Iterator[RowRange]:
        """All of a matrix with its first row, where it is read whole."""
        if not self._by_strips or not (self._is_held or self._is_one_strip or is_remote(self.inner)):
            yield from Unary.reads(self, start, stop)
            return
        source_rows, source_columns = self.inner.shape[-2:]
        first, last = -(-start // source_columns), -(-stop // source_columns)
        if first < last:
            yield RowRange(self.inner, first * source_rows, last * source_rows)

    def memory(self, rows: int) -> int:
        if self._is_held:
            return memory_of_rows(self.inner, self._step) + bytes_of_rows(self, rows)
        if self._by_strips:
            return self.inner.memory(self.inner.shape[-2]) + 2 * strip_bytes(self.inner)
        return memory_of_rows(self.inner, self._step)

    @property
    def _by_strips(self) -> bool:
        return isinstance(self.inner, ReadsColumns) and not is_blocks(self.inner.dtype)

    @property
    def _is_one_strip(self) -> bool:
        return strip_bytes(self.inner) >= self._bytes // max(1, math.prod(self.shape[:-2]))

    @property
    def _is_spooled(self) -> bool:
        return self._by_strips and not self._is_held and not self._is_one_strip and is_remote(self.inner)

    @property
    def _step(self) -> int:
        """Source rows to read at a time."""
        return max(1, _CHUNK // max(1, row_bytes(self.dtype, columns(self.inner))))

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        source_rows, source_columns = self.inner.shape[-2:]
        target = buffer(self, stop - start, out)
        if self.held is not None:
            target[...] = self.held[start:stop]
            return target
        step = self._step
        row = start
        while row < stop:
            matrix, first = divmod(row, source_columns)
            count = min(stop - row, source_columns - first)
            part = target[row - start : row - start + count]
            if self._by_strips:
                source, number = self.inner, matrix
                if self.spool is not None:
                    source, number = self.spool.matrix(self.inner, matrix), 0
                for column, strip in strips(source, number, first, first + count):
                    part[column - first : column - first + strip.shape[1]] = strip.T
            else:
                base = matrix * source_rows
                for a in range(0, source_rows, step):
                    b = min(source_rows, a + step)
                    part[:, a:b] = self.inner.read(base + a, base + b)[:, first : first + count].T
            row += count
        return target

    def describe(self) -> str:
        return f"transpose({self.inner.describe()})"


@operation
def transpose(tensor: LazyTensor) -> LazyTensor:
    """The last two dimensions exchanged; a one-dimensional tensor stays as it is."""
    return tensor if len(tensor.shape) < 2 else Transpose(tensor)
