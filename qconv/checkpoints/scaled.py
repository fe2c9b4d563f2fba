"""Tensors stored as small numbers times scales, presented as the float32 tensors they stand for.

A scale belongs to the whole tensor, to each row (channel), or to each block of ``(rows, columns)``.  A weight is the
stored number times its scale, in float32, as in llama.cpp's converter (``dequant_simple``, ``conversion/base.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.checkpoints.stored import Source
from qconv.checkpoints.widen import WIDENED, to_float32
from qconv.errors import FormatError, UnsupportedError
from qconv.types import Rows, TensorInfo


@dataclass(frozen=True, slots=True)
class Scale:
    """Scales of a tensor: ``shape`` has as many dimensions as the weights, each one lasting for ``steps`` weights.

    A dimension of 1 that does not last lasts for all weights (``steps`` None).
    """

    info: TensorInfo
    shape: tuple[int, ...]
    steps: tuple[int | None, ...]


def scale_of(weight: TensorInfo, scale: TensorInfo, block: Sequence[int] | None) -> Scale:
    """How ``scale`` applies to ``weight``; ``block``: weights a scale lasts for, in the last dimensions, None without.

    Raises ``UnsupportedError`` for types that are not widened, ``FormatError`` when the shapes do not fit together.
    """
    for info in (weight, scale):
        if info.dtype not in WIDENED:
            raise UnsupportedError(f"is scaled or a scale, but {info.dtype}", tensor=info.name)
    dims = len(weight.shape)
    shape = scale.shape + (1,) * (dims - len(scale.shape))
    if block is None:
        lasting = (1,) * dims
    else:
        lasting = (1,) * (len(scale.shape) - len(block)) + tuple(block) + (1,) * (dims - len(scale.shape))
    fits = len(shape) == dims == len(lasting)
    if fits:
        steps = tuple(None if n == 1 and step == 1 else step for n, step in zip(shape, lasting, strict=True))
        fits = all(
            step is None or -(-size // step) <= n if block else step is None or n == size
            for size, n, step in zip(weight.shape, shape, steps, strict=True)
        )
    if not fits:
        message = f"has the shape {list(scale.shape)}, which does not fit weights of {list(weight.shape)}"
        raise FormatError(message + (f" in blocks of {list(block)}" if block else ""), tensor=scale.name)
    return Scale(scale, shape, steps)


class Scaled:
    """The tensors of ``stored`` with scales applied, and without those that were ``dropped`` (scales among them).

    ``scales`` maps names of weights to their scales.  Weights with scales and all 8-bit floats become F32.
    """

    def __init__(self, stored: Source, scales: Mapping[str, Scale], dropped: frozenset[str]) -> None:
        self._stored = stored
        self._scales = scales
        self._tensors = {
            name: TensorInfo(name, "F32", info.shape) if name in scales or info.dtype.startswith("F8_") else info
            for name, info in stored.tensors.items()
            if name not in dropped
        }

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self._tensors

    def read(self, name: str, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        """Rows ``[start, stop)``, see ``TensorReader.read``; raises as the reader of the stored tensors does."""
        info = self._stored.tensors.get(name)
        if info is None or self._tensors.get(name) == info:
            return self._stored.read(name, start, stop, out)
        raw = self._stored.read(name, start, stop)
        buffer = np.empty(raw.size * 4, np.uint8) if out is None else out[: raw.size * 4]
        rows: NDArray[np.float32] = buffer.view(np.float32).reshape(raw.shape)
        to_float32(info.dtype, raw, rows)
        scale = self._scales.get(name)
        if scale is not None and rows.size:
            with np.errstate(over="ignore", invalid="ignore"):  # encoding names infinities and NaN
                self._apply(scale, info, start, rows)
        return rows

    def _apply(self, scale: Scale, info: TensorInfo, start: int, rows: NDArray[np.float32]) -> None:
        used = _rows_of_scales(scale, info.shape[:-1], start, start + len(rows))
        # a scale with fewer dimensions than the weights is read whole: it has at most one number a row
        whole_scale = len(scale.info.shape) < len(scale.shape)
        first, last = (0, scale.info.rows) if whole_scale else (int(used.min()), int(used.max()) + 1)
        raw = self._stored.read(scale.info.name, first, last)
        factors = np.empty(raw.shape, np.float32)
        to_float32(scale.info.dtype, raw, factors)
        factors = factors.reshape(-1, scale.shape[-1] if scale.shape else 1)[used - first]
        step = scale.steps[-1] if scale.steps else None
        if step is None:
            rows *= factors[:, :1]
            return
        whole = rows.shape[1] // step
        blocks = rows[:, : whole * step].reshape(len(rows), whole, step)  # a view: splitting an axis never copies
        blocks *= factors[:, :whole, None]
        if whole * step < rows.shape[1]:
            rows[:, whole * step :] *= factors[:, whole : whole + 1]

    def close(self) -> None:
        self._stored.close()


def _rows_of_scales(scale: Scale, leading: tuple[int, ...], start: int, stop: int) -> NDArray[np.intp]:
    """For each row of weights the row of scales it uses, both counted over all leading dimensions."""
    rows = np.arange(start, stop)
    if not leading:
        return np.zeros_like(rows)
    result = np.zeros_like(rows)
    for index, n, step in zip(np.unravel_index(rows, leading), scale.shape[:-1], scale.steps[:-1], strict=True):
        result = result * n + (0 if step is None else index // step)
    return result
