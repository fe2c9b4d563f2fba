"""Products of two small matrices, which adapters add to weights, and their factors.

Everything is computed in float32, one weight's terms in one order, so that no bit depends on which rows are read
together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import Keyed, LazyTensor, buffer, columns, n_rows, read_whole
from qconv.tensors.floats import as_float32
from qconv.types import Rows

Float32 = NDArray[np.float32]

_TILE = 1 << 16
"""Weights computed at a time: they and a term of theirs stay in a core's cache."""
_NUMPYS = 1 << 17
"""Bytes of numpy's own while it multiplies."""


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
