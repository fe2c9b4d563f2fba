"""Rows of queries and keys, head by head, where layers differ in how many heads they have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, Unary, buffer, refuse
from qconv.tensors.combine import join
from qconv.tensors.registry import operation
from qconv.tensors.rows import first_rows, gather, permute_rope, skip_rows, whole
from qconv.tensors.shapes import as_columns, reshape
from qconv.types import Rows

_BITS: dict[str, Any] = {"F32": np.uint32, "F16": np.uint16, "BF16": np.uint16}


@operation
def permute_rope_in_heads(tensor: LazyTensor, size: int) -> LazyTensor:
    """``permute_rope`` for as many heads of ``size`` rows as there are."""
    return permute_rope(tensor, whole("permute_rope_in_heads", tensor, tensor.shape[0], size))


@operation
def unmix_rope_in_heads(tensor: LazyTensor, size: int, rotating: int) -> LazyTensor:
    """Of each head of ``size`` rows the first ``rotating``, even ones before odd ones: from neighbours to halves."""
    heads = whole("unmix_rope_in_heads", tensor, tensor.shape[0], size)
    if rotating == 0:
        return tensor
    if not 0 < rotating <= size or rotating % 2:
        raise refuse("unmix_rope_in_heads", tensor, f"{rotating} of a head's {size} rows cannot rotate in pairs")
    matrix = as_columns(tensor) if len(tensor.shape) == 1 else tensor
    picks = [pick for pick in ((0, rotating, 2), (1, rotating, 2), (rotating, size, 1)) if range(*pick)]
    parts = []
    for first, stop, step in picks:
        shape = (heads, len(range(first, stop, step)), matrix.shape[-1])
        label = f"every {step} rows from {first} of"
        parts.append(gather(matrix, label, (heads, size), picks={1: (first, stop, step)}, shape=shape))
    return reshape(join("unmix_rope_in_heads", parts, axis=1), tensor.shape)


@operation
def gather_axes(tensor: LazyTensor, heads: int, axes: int) -> LazyTensor:
    """Of each head the two halves that rotate by an axis of space or time beside each other, axis after axis.

    A head has first halves of all axes, then second halves, then rows that do not rotate.  An axis has as many rows as
    go into the head's pairs of rows, evenly, so often.
    """
    size = whole("gather_axes", tensor, tensor.shape[0], heads)
    half = 2 * (size // 2) // axes // 2
    rotating = 2 * axes * half
    matrix = as_columns(tensor) if len(tensor.shape) == 1 else tensor
    columns = matrix.shape[-1]
    rows = gather(
        matrix, "rotating rows of", (heads, size), picks={1: (0, rotating, 1)}, shape=(heads * rotating, columns)
    )
    turned = gather(rows, "gather_axes", (heads, 2, axes, half), order=(0, 2, 1, 3), shape=(heads, rotating, columns))
    if rotating == size:
        return reshape(turned, tensor.shape)
    left = gather(
        matrix,
        "other rows of",
        (heads, size),
        picks={1: (rotating, size, 1)},
        shape=(heads, size - rotating, columns),
    )
    return reshape(join("gather_axes", [turned, left], axis=1), tensor.shape)


@dataclass(frozen=True, slots=True)
class SecondHalfNegated(Unary):
    """``inner`` with the signs of the second half of every ``size`` rows turned round, in its own type."""

    size: int

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        target[...] = self.inner.read(start, stop)
        bits = target.view(_BITS[self.dtype])
        negated = np.arange(start, stop) % self.size >= self.size // 2
        bits[negated] ^= _BITS[self.dtype](1 << (8 * bits.itemsize - 1))
        return target

    def describe(self) -> str:
        return f"negate_second_half {self.size}({self.inner.describe()})"


@operation
def negate_second_half(tensor: LazyTensor, size: int) -> LazyTensor:
    """The second half of each head of ``size`` rows, times -1: it rotates the other way round."""
    whole("negate_second_half", tensor, tensor.shape[0], size)
    if tensor.dtype not in _BITS or len(tensor.shape) != 2:
        raise refuse("negate_second_half", tensor, f"it is not a matrix of floats but {tensor.dtype}")
    return SecondHalfNegated(tensor, size)


@operation
def unmix_rope_2d(tensor: LazyTensor, heads: int) -> LazyTensor:
    """Queries, keys and values in one: of each head's queries and keys, four by four, those of both axes apart.

    Rows (x, x', y, y') of two rotating pairs become all (x, x') of a head before all (y, y').
    """
    size = whole("unmix_rope_2d", tensor, tensor.shape[0], 3)
    fours = whole("unmix_rope_2d", tensor, size, 4 * heads)
    turned = first_rows(tensor, 2 * size)
    grid = (2 * heads, fours, 2, 2)
    parts = [gather(turned, "unmix_rope_2d", grid, order=(0, 2, 1, 3), shape=turned.shape), skip_rows(tensor, 2 * size)]
    return join("unmix_rope_2d", parts, axis=0)
