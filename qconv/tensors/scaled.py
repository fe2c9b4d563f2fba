"""Tensors stored as small numbers times scales, as the float32 tensors they stand for.

A scale belongs to the whole tensor, to each row (channel), or to each block of ``(rows, columns)``.  A weight is the
stored number times its scale, in float32, as in llama.cpp's converter (``dequant_simple``, ``conversion/base.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.errors import FormatError, UnsupportedError
from qconv.tensors.base import LazyTensor, Unary, buffer, memory_of_rows, n_rows
from qconv.tensors.dtypes import FLOATS, FLOATS8
from qconv.tensors.floats import as_float32, to_float32
from qconv.types import Rows

_SCALED = (*FLOATS8, *FLOATS, "I8")
"""Types of numbers that are scaled, and of scales."""


@dataclass(frozen=True, slots=True)
class Scaled(Unary):
    """``inner`` times ``scale``, which has as many dimensions or fewer.

    ``grid``: the scale's shape with as many dimensions as the weights, each number lasting for ``steps`` weights; a
    dimension of 1 that does not last lasts for all weights (``steps`` None).
    """

    scale: LazyTensor
    grid: tuple[int, ...]
    steps: tuple[int | None, ...]

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def sources(self) -> tuple[str, ...]:
        return (*self.inner.sources, *self.scale.sources)

    def memory(self, rows: int) -> int:
        scales = memory_of_rows(self.scale, min(rows, n_rows(self.scale)))
        return Unary.memory(self, rows) + 3 * scales + 64 * rows

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        raw = self.inner.read(start, stop)
        rows = buffer(self, stop - start, out)
        to_float32(self.inner.dtype, raw, rows)
        if rows.size:
            with np.errstate(over="ignore", invalid="ignore"):  # encoding names infinities and NaN
                self._multiply(start, rows)
        return rows

    def _multiply(self, start: int, rows: NDArray[np.float32]) -> None:
        used = self._rows_of_scales(start, start + len(rows))
        # a scale with fewer dimensions than the weights is read whole: it has at most one number a row
        whole = len(self.scale.shape) < len(self.grid)
        first, last = (0, n_rows(self.scale)) if whole else (int(used.min()), int(used.max()) + 1)
        factors = as_float32(self.scale.read(first, last), self.scale.dtype)
        factors = factors.reshape(-1, self.grid[-1] if self.grid else 1)[used - first]
        step = self.steps[-1] if self.steps else None
        if step is None or step == 1:
            rows *= factors[:, : 1 if step is None else rows.shape[1]]
            return
        blocks = rows.shape[1] // step
        view = rows[:, : blocks * step].reshape(len(rows), blocks, step)  # splitting an axis never copies
        view *= factors[:, :blocks, None]
        if blocks * step < rows.shape[1]:
            rows[:, blocks * step :] *= factors[:, blocks : blocks + 1]

    def _rows_of_scales(self, start: int, stop: int) -> NDArray[np.intp]:
        """For each row of weights the row of scales it uses, both counted over all leading dimensions."""
        rows = np.arange(start, stop)
        leading = self.shape[:-1]
        if not leading:
            return np.zeros_like(rows)
        result = np.zeros_like(rows)
        for index, n, step in zip(np.unravel_index(rows, leading), self.grid[:-1], self.steps[:-1], strict=True):
            result = result * n + (0 if step is None else index // step)
        return result

    def describe(self) -> str:
        return self.inner.describe()


def scaled(weight: LazyTensor, scale: LazyTensor, block: Sequence[int] | None) -> Scaled:
    """``weight`` times ``scale``; ``block``: weights a scale lasts for, in the last dimensions, None without.

    Raises ``UnsupportedError`` for types that are not widened, ``FormatError`` when the shapes do not fit together.
    """
    for tensor in (weight, scale):
        if tensor.dtype not in _SCALED:
            raise UnsupportedError(f"is scaled or a scale, but {tensor.dtype}", tensor=tensor.sources[0])
    dims = len(weight.shape)
    grid = scale.shape + (1,) * (dims - len(scale.shape))
    if block is None:
        lasting = (1,) * dims
    else:
        lasting = (1,) * (len(scale.shape) - len(block)) + tuple(block) + (1,) * (dims - len(scale.shape))
    fits = len(grid) == dims == len(lasting)
    if fits:
        steps = tuple(None if n == 1 and step == 1 else step for n, step in zip(grid, lasting, strict=True))
        fits = all(
            step is None or -(-size // step) <= n if block else step is None or n == size
            for size, n, step in zip(weight.shape, grid, steps, strict=True)
        )
    if not fits:
        message = f"has the shape {list(scale.shape)}, which does not fit weights of {list(weight.shape)}"
        raise FormatError(message + (f" in blocks of {list(block)}" if block else ""), tensor=scale.sources[0])
    return Scaled(weight, scale, grid, steps)


@dataclass(frozen=True, slots=True)
class Widened(Unary):
    """A tensor of small numbers that have no scale, as float32."""

    @property
    def dtype(self) -> str:
        return "F32"

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        rows = buffer(self, stop - start, out)
        to_float32(self.inner.dtype, self.inner.read(start, stop), rows)
        return rows

    def describe(self) -> str:
        return self.inner.describe()
