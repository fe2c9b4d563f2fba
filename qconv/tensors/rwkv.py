"""What RWKV's tensors take to be read by llama.cpp's kernels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, RowRange, Unary, buffer, n_rows, read_into, refuse
from qconv.tensors.elementwise import scale
from qconv.tensors.registry import operation
from qconv.tensors.rows import whole
from qconv.tensors.shapes import reshape
from qconv.types import Rows

_LAYER = re.compile(r"\.(\d{1,9})\.")


@operation
def halve_every(tensor: LazyTensor, layers: int) -> LazyTensor:
    """``x / 2**(layer // layers)``, the layer as the source's name has it; 0 ``layers``: as it stands."""
    layer = _LAYER.search(tensor.sources[0])
    if layers <= 0 or layer is None:
        return tensor
    return scale(tensor, 0.5 ** (int(layer[1]) // layers))


@operation
def matrices_of_a_row(tensor: LazyTensor) -> LazyTensor:
    """Each row as a matrix of one row in a dimension of its own: (rows, 1, 1, columns)."""
    return reshape(tensor, (n_rows(tensor), 1, 1, tensor.shape[-1]))


@dataclass(frozen=True, slots=True)
class Exchanged(Unary):
    """``inner``'s rows as ``count`` blocks, blocks ``one`` and ``other`` in each other's place."""

    count: int
    one: int
    other: int

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        row = 0
        for inner, first, last in self.reads(start, stop):
            read_into(inner, first, last, target[row : row + last - first])
            row += last - first
        return target

    def reads(self, start: int, stop: int) -> Iterator[RowRange]:
        size = n_rows(self.inner) // self.count
        source = {self.one: self.other, self.other: self.one}
        row = start
        while row < stop:
            block, within = divmod(row, size)
            end = min(stop, row + size - within)
            first = source.get(block, block) * size + within
            yield RowRange(self.inner, first, first + end - row)
            row = end

    def describe(self) -> str:
        return f"exchange_blocks {self.one} and {self.other} of {self.count} of({self.inner.describe()})"


@operation
def exchange_blocks(tensor: LazyTensor, count: int, one: int, other: int) -> LazyTensor:
    """Of the rows in ``count`` blocks, blocks ``one`` and ``other`` exchanged."""
    if len(tensor.shape) < 2 or not 0 <= one < count or not 0 <= other < count:
        raise refuse("exchange_blocks", tensor, f"it has no rows in {count} blocks")
    whole("exchange_blocks", tensor, n_rows(tensor), count)
    return Exchanged(tensor, count, one, other)
