"""What RWKV's tensors take to be read by llama.cpp's kernels."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.architectures.operations.base import Derived, buffer, n_rows, read_into, refuse
from qconv.architectures.operations.elementwise import scale
from qconv.architectures.operations.rows import whole
from qconv.architectures.operations.shapes import reshape
from qconv.architectures.registry import operation
from qconv.types import Recipe, Rows, TensorReader

_LAYER = re.compile(r"\.(\d{1,9})\.")


@operation
def halve_every(recipe: Recipe, layers: int) -> Recipe:
    """``x / 2**(layer // layers)``, the layer as the source's name has it; 0 ``layers``: as it stands."""
    layer = _LAYER.search(recipe.sources[0])
    if layers <= 0 or layer is None:
        return recipe
    return scale(recipe, 0.5 ** (int(layer[1]) // layers))


@operation
def matrices_of_a_row(recipe: Recipe) -> Recipe:
    """Each row as a matrix of one row in a dimension of its own: (rows, 1, 1, columns)."""
    return reshape(recipe, (n_rows(recipe), 1, 1, recipe.shape[-1]))


@dataclass(frozen=True, slots=True)
class Exchanged(Derived):
    """``inner``'s rows as ``count`` blocks, blocks ``one`` and ``other`` in each other's place."""

    count: int
    one: int
    other: int

    def read(self, reader: TensorReader, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        size = n_rows(self.inner) // self.count
        source = {self.one: self.other, self.other: self.one}
        row = start
        while row < stop:
            block, within = divmod(row, size)
            end = min(stop, row + size - within)
            first = source.get(block, block) * size + within
            read_into(self.inner, reader, first, first + end - row, target[row - start : end - start])
            row = end
        return target

    def describe(self) -> str:
        return f"exchange_blocks {self.one} and {self.other} of {self.count} of({self.inner.describe()})"


@operation
def exchange_blocks(recipe: Recipe, count: int, one: int, other: int) -> Recipe:
    """Of the rows in ``count`` blocks, blocks ``one`` and ``other`` exchanged."""
    if len(recipe.shape) < 2 or not 0 <= one < count or not 0 <= other < count:
        raise refuse("exchange_blocks", recipe, f"it has no rows in {count} blocks")
    whole("exchange_blocks", recipe, n_rows(recipe), count)
    return Exchanged(recipe, count, one, other)
