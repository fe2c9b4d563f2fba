"""Operations that pick and reorder rows; a one-dimensional tensor's rows are its elements.

All are a ``View``: the source's rows seen as a grid, a slice of it along each axis, the axes in another order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, RowRange, Unary, buffer, memory_of_rows, n_rows, read_into, refuse
from qconv.tensors.registry import operation
from qconv.types import Rows, shape_text

_SHORT_RUN = 8
"""Rows; where runs of neighbours are shorter, the whole span is read and picked from."""
_SPREAD = 4
"""How many times as long as what is picked that span may be."""


@dataclass(frozen=True, slots=True)
class View:
    """A grid of row numbers: ``grid`` its shape, ``picks`` (start, stop, step) per axis, ``order`` of the axes."""

    grid: tuple[int, ...]
    picks: tuple[tuple[int, int, int], ...]
    order: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Length of each picked axis, in the new order."""
        lengths = [len(range(*pick)) for pick in self.picks]
        return tuple(lengths[axis] for axis in self.order)

    def rows(self, start: int, stop: int) -> NDArray[np.intp]:
        """Source rows of result rows ``[start, stop)``."""
        coordinates = np.unravel_index(np.arange(start, stop), self.counts)
        numbers = np.zeros(stop - start, np.intp)
        for axis, coordinate in zip(self.order, coordinates, strict=True):
            first, _, step = self.picks[axis]
            numbers += (first + step * coordinate) * math.prod(self.grid[axis + 1 :])
        return numbers


@dataclass(frozen=True, slots=True)
class Gather(Unary):
    """Rows of ``inner`` in a view's order, in ``new_shape``."""

    label: str
    view: View
    new_shape: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.new_shape

    def memory(self, rows: int) -> int:
        span = n_rows(self.inner) if len(self.inner.shape) == 1 else min(_SPREAD * rows, n_rows(self.inner))
        return memory_of_rows(self.inner, span) + 64 * rows  # row numbers and their coordinates

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        if len(self.inner.shape) == 1:
            whole = self.inner.read(0, 1)
            elements = self.view.rows(0, math.prod(self.new_shape)).reshape(-1, target.shape[1])
            np.take(whole.reshape(-1), elements[start:stop], out=target)
            return target
        if stop == start:
            return target
        rows = self.view.rows(start, stop)
        low, high = int(rows.min()), int(rows.max()) + 1
        if _is_dense(rows, low, high):
            np.take(self.inner.read(low, high), rows - low, axis=0, out=target)
            return target
        edges = [0, *_breaks(rows), len(rows)]
        for a, b in pairwise(edges):
            first = int(rows[a])
            read_into(self.inner, first, first + b - a, target[a:b])
        return target

    def reads(self, start: int, stop: int) -> Iterator[RowRange]:
        if len(self.inner.shape) == 1:
            yield RowRange(self.inner, 0, 1)
            return
        if stop == start:
            return
        rows = self.view.rows(start, stop)
        low, high = int(rows.min()), int(rows.max()) + 1
        if _is_dense(rows, low, high):
            yield RowRange(self.inner, low, high)
            return
        edges = [0, *_breaks(rows), len(rows)]
        for a, b in pairwise(edges):
            yield RowRange(self.inner, int(rows[a]), int(rows[a]) + b - a)

    def describe(self) -> str:
        return f"{self.label}{list(self.view.grid)}({self.inner.describe()})"


def _breaks(rows: NDArray[np.intp]) -> list[int]:
    """Where row numbers do not follow the one before."""
    breaks: list[int] = (np.flatnonzero(np.diff(rows) != 1) + 1).tolist()
    return breaks


def _is_dense(rows: NDArray[np.intp], low: int, high: int) -> bool:
    """Whether all of ``[low, high)`` is better read than runs of rows."""
    return len(rows) < _SHORT_RUN * (len(_breaks(rows)) + 1) and high - low <= _SPREAD * len(rows)


def gather(
    tensor: LazyTensor,
    label: str,
    grid: tuple[int, ...],
    *,
    picks: dict[int, tuple[int, int, int]] | None = None,
    order: tuple[int, ...] | None = None,
    shape: tuple[int, ...] | None = None,
) -> LazyTensor:
    """``tensor``'s rows seen as ``grid``; ``shape``: the result's, by default the first axis takes what is left."""
    rows = tensor.shape[0] if len(tensor.shape) == 1 else n_rows(tensor)
    if math.prod(grid) != rows or any(not isinstance(n, int) or n <= 0 for n in grid):
        raise refuse(label, tensor, f"{rows} rows are not {shape_text(grid)}")
    chosen = tuple((picks or {}).get(axis, (0, n, 1)) for axis, n in enumerate(grid))
    view = View(grid, chosen, order or tuple(range(len(grid))))
    if shape is None:
        left = math.prod(view.counts)
        shape = (left,) if len(tensor.shape) == 1 else (left, tensor.shape[-1])
    return Gather(tensor, label, view, shape)


def whole(label: str, tensor: LazyTensor, over: int, under: int) -> int:
    """``over / under``; PlanError when that leaves a remainder."""
    if under <= 0 or over % under:
        raise refuse(label, tensor, f"{over} is not a multiple of {under}")
    return over // under


@operation
def permute_rope(tensor: LazyTensor, heads: int) -> LazyTensor:
    """From rotating halves of a head (transformers) to rotating neighbours (GGUF's llama)."""
    half = whole("permute_rope", tensor, tensor.shape[0], 2 * heads)
    return gather(tensor, "permute_rope", (heads, 2, half), order=(0, 2, 1), shape=tensor.shape)


@operation
def swap_groups(tensor: LazyTensor, outer: int, inner: int) -> LazyTensor:
    """Rows grouped as ``(outer, inner, rest)`` become ``(inner, outer, rest)``."""
    rest = whole("swap_groups", tensor, tensor.shape[0], outer * inner)
    return gather(tensor, "swap_groups", (outer, inner, rest), order=(1, 0, 2), shape=tensor.shape)


@operation
def swap_outer(tensor: LazyTensor) -> LazyTensor:
    """The first two dimensions exchanged; rows remain as they are."""
    outer, inner = tensor.shape[:-1]
    return gather(tensor, "swap_outer", (outer, inner), order=(1, 0), shape=(inner, outer, tensor.shape[-1]))


@operation
def split(tensor: LazyTensor, index: int, *sizes: int) -> LazyTensor:
    """Part ``index`` of the first dimension cut into pieces of ``sizes``."""
    return split_each(tensor, 1, index, *sizes)


@operation
def split_each(tensor: LazyTensor, groups: int, index: int, *sizes: int) -> LazyTensor:
    """Part ``index`` of each of ``groups`` groups of the first dimension, each cut into pieces of ``sizes``."""
    start = sum(sizes[:index])
    pick = (start, start + sizes[index], 1)
    label = f"split {index} of {list(sizes)} in"
    return gather(tensor, label, (groups, sum(sizes)), picks={1: pick})


@operation
def equal_part(tensor: LazyTensor, index: int, count: int) -> LazyTensor:
    """Part ``index`` of the first dimension cut into ``count`` equal ones, as queries, keys and values in one."""
    size = whole("equal_part", tensor, tensor.shape[0], count)
    return split(tensor, index, *(size,) * count)


@operation
def half(tensor: LazyTensor, index: int) -> LazyTensor:
    """The first (0) or second (1) half of the rows; of each matrix in a stack."""
    return _part(tensor, f"half {index} of", index, interleaved=False)


@operation
def every_other(tensor: LazyTensor, index: int) -> LazyTensor:
    """Even (0) or odd (1) rows; of each matrix in a stack."""
    return _part(tensor, f"every other row from {index} of", index, interleaved=True)


def _part(tensor: LazyTensor, label: str, index: int, *, interleaved: bool) -> LazyTensor:
    flat = len(tensor.shape) == 1
    lead, rows = (1, tensor.shape[0]) if flat else (math.prod(tensor.shape[:-2]), tensor.shape[-2])
    left = whole(label, tensor, rows, 2)
    shape = (left,) if flat else (*tensor.shape[:-2], left, tensor.shape[-1])
    pick = (index, index + 1, 1)
    if interleaved:
        return gather(tensor, label, (lead, left, 2), picks={2: pick}, shape=shape)
    return gather(tensor, label, (lead, 2, left), picks={1: pick}, shape=shape)


@operation
def skip_rows(tensor: LazyTensor, count: int) -> LazyTensor:
    """Without the first ``count`` rows."""
    if not 0 <= count < tensor.shape[0]:
        raise refuse("skip_rows", tensor, f"it has no row {count}")
    return gather(tensor, "skip_rows of", (tensor.shape[0],), picks={0: (count, tensor.shape[0], 1)})


@operation
def first_rows(tensor: LazyTensor, count: int) -> LazyTensor:
    """The first ``count`` rows, as where a vocabulary is padded."""
    if not 0 < count <= tensor.shape[0]:
        raise refuse("first_rows", tensor, f"it has no {count} rows")
    return gather(tensor, "first_rows of", (tensor.shape[0],), picks={0: (0, count, 1)})


@operation
def heads(tensor: LazyTensor, count: int, index: int, *sizes: int) -> LazyTensor:
    """Part ``index`` of each head, heads as a dimension of their own: (heads, size, columns)."""
    start = sum(sizes[:index])
    return gather(
        tensor,
        f"heads {index} of {list(sizes)} in",
        (count, sum(sizes)),
        picks={1: (start, start + sizes[index], 1)},
        shape=(count, sizes[index], tensor.shape[-1]),
    )


@operation
def member(tensor: LazyTensor, index: int) -> LazyTensor:
    """Matrix ``index`` of a stack of matrices; row ``index`` of a matrix, as a vector."""
    shape = tensor.shape
    return gather(tensor, f"member {index} of", shape[:-1], picks={0: (index, index + 1, 1)}, shape=shape[1:])
