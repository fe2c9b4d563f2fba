"""Weights of 4-bit floats whose scales are 8-bit floats, as the float32 tensors they stand for.

NVFP4: E4M3 scales of 16 columns, which one number for the tensor brings into range: compressed-tensors divides them by
its ``weight_global_scale``, ModelOpt multiplies by its ``weight_scale_2``.  Scales are brought into range first, in
float32, and then multiplied with the weights, as both libraries do.  MXFP4: E8M0 scales of 32 columns, nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.errors import FormatError
from qconv.tensors.base import LazyTensor, Unary, buffer, columns, memory_of_rows, n_rows
from qconv.tensors.dtypes import FLOATS
from qconv.tensors.floats import as_float32
from qconv.tensors.quantized.fp4 import fp4
from qconv.tensors.quantized.retyped import retyped
from qconv.tensors.scaled import Scaled, scaled
from qconv.types import Rows, shape_text


@dataclass(frozen=True, slots=True)
class Divided(Unary):
    """``inner`` over ``divisor``, one number or one for each matrix of a stack, as float32."""

    divisor: LazyTensor

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def sources(self) -> tuple[str, ...]:
        return (*self.inner.sources, *self.divisor.sources)

    def memory(self, rows: int) -> int:
        return memory_of_rows(self.inner, rows) + 2 * memory_of_rows(self.divisor, n_rows(self.divisor)) + 16 * rows

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        divisors = as_float32(self.divisor.read(0, n_rows(self.divisor)), self.divisor.dtype).reshape(-1)
        per_divisor = max(1, n_rows(self) // divisors.size)
        of_row = divisors[np.arange(start, stop) // per_divisor][:, None]
        with np.errstate(all="ignore"):  # encoding names infinities and NaN
            np.divide(as_float32(self.inner.read(start, stop), self.inner.dtype), of_row, out=target)
        return target

    def describe(self) -> str:
        return self.inner.describe()


def packed_fp4(tensors: Mapping[str, LazyTensor], name: str) -> LazyTensor:
    """compressed-tensors' weight ``name``: ``NAME_packed`` and ``NAME_scale``, for NVFP4 ``NAME_global_scale`` too.

    Raises ``FormatError`` when a part is missing or they do not fit together.
    """
    if name + "_scale" not in tensors:
        raise FormatError(f"is packed, but there is no '{name}_scale'", tensor=name)
    scale, divisor = tensors[name + "_scale"], tensors.get(name + "_global_scale")
    return fp4_weight(tensors[name + "_packed"], scale if divisor is None else divided(scale, divisor))


def fp4_weight(packed: LazyTensor, scale: LazyTensor) -> Scaled:
    """Bytes of 4-bit floats times scales of equal runs of columns; integers are E8M0 scales.

    Raises ``FormatError`` when their shapes do not fit together.
    """
    values = fp4(packed)
    groups = columns(scale)
    if scale.shape[:-1] != values.shape[:-1] or not groups or columns(values) % groups:
        message = f"is {shape_text(scale.shape)}, which does not fit weights of {shape_text(values.shape)}"
        raise FormatError(message, tensor=scale.sources[0])
    return scaled(values, retyped(scale, "F8_E8M0", "U8"), (1, columns(values) // groups))


def divided(scale: LazyTensor, divisor: LazyTensor) -> Divided:
    """``scale`` over one number, or one for each matrix of a stack; ``FormatError`` for any other shape."""
    count = n_rows(divisor) * columns(divisor)
    if divisor.dtype not in FLOATS or count not in (1, scale.shape[0] if len(scale.shape) == 3 else 1):
        message = f"is {divisor.dtype} {shape_text(divisor.shape)}, but the scales are {shape_text(scale.shape)}"
        raise FormatError(message, tensor=divisor.sources[0])
    return Divided(scale, divisor)
