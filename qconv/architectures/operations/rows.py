"""Operations that pick and reorder rows; a one-dimensional tensor's rows are its elements.

All are a ``View``: the source's rows seen as a grid, a slice of it along each axis, the axes in another order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from qconv.architectures.operations.base import Derived, buffer, n_rows, read_into, refuse
from qconv.architectures.registry import operation
from qconv.types import Recipe, Rows, TensorReader

_SHORT_RUN = 8
"""Rows; where runs of neighbours are shorter, the whole span is read and picked from."""


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
        found = np.zeros(stop - start, np.intp)
        for axis, coordinate in zip(self.order, coordinates, strict=True):
            first, _, step = self.picks[axis]
            found += (first + step * coordinate) * math.prod(self.grid[axis + 1 :])
        return found


@dataclass(frozen=True, slots=True)
class Gather(Derived):
    """Rows of ``inner`` in a view's order, in ``new_shape``."""

    label: str
    view: View
    new_shape: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.new_shape

    def read(self, reader: TensorReader, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        if len(self.inner.shape) == 1:
            whole = self.inner.read(reader, 0, 1)
            elements = self.view.rows(0, math.prod(self.new_shape)).reshape(-1, target.shape[1])
            np.take(whole.reshape(-1), elements[start:stop], out=target)
            return target
        if stop == start:
            return target
        rows = self.view.rows(start, stop)
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        low, high = int(rows.min()), int(rows.max()) + 1
        if len(rows) < _SHORT_RUN * (len(breaks) + 1) and high - low <= 4 * len(rows):
            np.take(self.inner.read(reader, low, high), rows - low, axis=0, out=target)
            return target
        edges = [0, *breaks.tolist(), len(rows)]
        for a, b in pairwise(edges):
            first = int(rows[a])
            read_into(self.inner, reader, first, first + b - a, target[a:b])
        return target

    def describe(self) -> str:
        return f"{self.label}{list(self.view.grid)}({self.inner.describe()})"


def gather(
    recipe: Recipe,
    label: str,
    grid: tuple[int, ...],
    *,
    picks: dict[int, tuple[int, int, int]] | None = None,
    order: tuple[int, ...] | None = None,
    shape: tuple[int, ...] | None = None,
) -> Recipe:
    """``recipe``'s rows seen as ``grid``; ``shape``: the result's, by default the first axis takes what is left."""
    rows = recipe.shape[0] if len(recipe.shape) == 1 else n_rows(recipe)
    if math.prod(grid) != rows or any(not isinstance(n, int) or n <= 0 for n in grid):
        raise refuse(label, recipe, f"{rows} rows are not {' x '.join(map(str, grid))}")
    chosen = tuple((picks or {}).get(axis, (0, n, 1)) for axis, n in enumerate(grid))
    view = View(grid, chosen, order or tuple(range(len(grid))))
    if shape is None:
        left = math.prod(view.counts)
        shape = (left,) if len(recipe.shape) == 1 else (left, recipe.shape[-1])
    return Gather(recipe, label, view, shape)


def whole(label: str, recipe: Recipe, over: int, under: int) -> int:
    """``over / under``; PlanError when that leaves a remainder."""
    if under <= 0 or over % under:
        raise refuse(label, recipe, f"{over} is no multiple of {under}")
    return over // under


@operation
def permute_rope(recipe: Recipe, heads: int) -> Recipe:
    """From rotating halves of a head (transformers) to rotating neighbours (GGUF's llama)."""
    half = whole("permute_rope", recipe, recipe.shape[0], 2 * heads)
    return gather(recipe, "permute_rope", (heads, 2, half), order=(0, 2, 1), shape=recipe.shape)


@operation
def swap_groups(recipe: Recipe, outer: int, inner: int) -> Recipe:
    """Rows grouped as ``(outer, inner, rest)`` become ``(inner, outer, rest)``."""
    rest = whole("swap_groups", recipe, recipe.shape[0], outer * inner)
    return gather(recipe, "swap_groups", (outer, inner, rest), order=(1, 0, 2), shape=recipe.shape)


@operation
def split(recipe: Recipe, index: int, *sizes: int) -> Recipe:
    """Part ``index`` of the first dimension cut into pieces of ``sizes``."""
    return split_each(recipe, 1, index, *sizes)


@operation
def split_each(recipe: Recipe, groups: int, index: int, *sizes: int) -> Recipe:
    """Part ``index`` of each of ``groups`` groups of the first dimension, each cut into pieces of ``sizes``."""
    start = sum(sizes[:index])
    pick = (start, start + sizes[index], 1)
    label = f"split {index} of {list(sizes)} in"
    return gather(recipe, label, (groups, sum(sizes)), picks={1: pick})


@operation
def half(recipe: Recipe, index: int) -> Recipe:
    """The first (0) or second (1) half of the rows; of each matrix in a stack."""
    return _part(recipe, f"half {index} of", index, interleaved=False)


@operation
def every_other(recipe: Recipe, index: int) -> Recipe:
    """Even (0) or odd (1) rows; of each matrix in a stack."""
    return _part(recipe, f"every other row from {index} of", index, interleaved=True)


def _part(recipe: Recipe, label: str, index: int, *, interleaved: bool) -> Recipe:
    flat = len(recipe.shape) == 1
    lead, rows = (1, recipe.shape[0]) if flat else (math.prod(recipe.shape[:-2]), recipe.shape[-2])
    left = whole(label, recipe, rows, 2)
    shape = (left,) if flat else (*recipe.shape[:-2], left, recipe.shape[-1])
    pick = (index, index + 1, 1)
    if interleaved:
        return gather(recipe, label, (lead, left, 2), picks={2: pick}, shape=shape)
    return gather(recipe, label, (lead, 2, left), picks={1: pick}, shape=shape)


@operation
def first_rows(recipe: Recipe, count: int) -> Recipe:
    """The first ``count`` rows, as where a vocabulary is padded."""
    if not 0 < count <= recipe.shape[0]:
        raise refuse("first_rows", recipe, f"it has no {count} rows")
    return gather(recipe, "first_rows of", (recipe.shape[0],), picks={0: (0, count, 1)})


@operation
def heads(recipe: Recipe, count: int, index: int, *sizes: int) -> Recipe:
    """Part ``index`` of each head, heads as a dimension of their own: (heads, size, columns)."""
    start = sum(sizes[:index])
    return gather(
        recipe,
        f"heads {index} of {list(sizes)} in",
        (count, sum(sizes)),
        picks={1: (start, start + sizes[index], 1)},
        shape=(count, sizes[index], recipe.shape[-1]),
    )
