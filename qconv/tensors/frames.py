"""Kernels of convolutions: over time cut into those of single frames, and those kept as matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import LazyTensor, Unary, buffer, columns, memory_of_rows, refuse
from qconv.tensors.floats import as_float32
from qconv.tensors.registry import operation
from qconv.tensors.rows import gather, whole
from qconv.tensors.shapes import reshape, transpose
from qconv.types import Rows


@operation
def frame(tensor: LazyTensor, index: int, frames: int) -> LazyTensor:
    """Kernel of frame ``index`` of a convolution over so many: (out, in, ``frames``, height, width) without the third.

    ggml convolves in two dimensions, and adds what the frames' kernels give.
    """
    if len(tensor.shape) != 5 or tensor.shape[2] != frames:
        raise refuse("frame", tensor, f"it is no convolution over {frames} frames")
    outer, height, width = math.prod(tensor.shape[:2]), *tensor.shape[3:]
    return gather(
        tensor,
        f"frame {index} of",
        (outer, frames, height),
        picks={1: (index, index + 1, 1)},
        shape=(*tensor.shape[:2], height, width),
    )


@operation
def channels_first(tensor: LazyTensor, channels: int, side: int) -> LazyTensor:
    """Patches as vectors, (out, ``side`` · ``side`` · ``channels``), as a kernel: (out, channels, side, side)."""
    outer = tensor.shape[0]
    pixels = reshape(tensor, (outer, side * side, channels))
    return reshape(transpose(pixels), (outer, channels, side, side))


@operation
def planes(tensor: LazyTensor, channels: int) -> LazyTensor:
    """Values of pixels, ``channels`` of each side by side in a row, as all of the first channel, then the second, …"""
    values = tensor.shape[-1]
    pixels = whole("planes", tensor, values, channels)
    return reshape(transpose(reshape(tensor, (*tensor.shape[:-1], pixels, channels))), tensor.shape)


@dataclass(frozen=True, slots=True)
class HalvesAdded(Unary):
    """Of each row of ``inner`` the second half added to the first, in float32; F16 is rounded to F16."""

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.inner.shape[:-1], self.inner.shape[-1] // 2)

    def memory(self, rows: int) -> int:
        return memory_of_rows(self.inner, rows) + 8 * columns(self.inner) * rows

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        values = as_float32(self.inner.read(start, stop), self.inner.dtype)
        half = target.shape[1]
        with np.errstate(over="ignore", invalid="ignore"):  # the encoder's check finds what is not finite
            np.add(values[:, :half], values[:, half:], out=target)
            if self.inner.dtype == "F16":
                target[...] = target.astype(np.float16)
        return target

    def describe(self) -> str:
        return f"halves_added({self.inner.describe()})"


@operation
def sum_frames(tensor: LazyTensor, frames: int, channels: int) -> LazyTensor:
    """Patches over two frames, (out, 2 · ``channels`` · side · side), as the kernel of an image that fills both.

    The kernel is (out, channels, side, side).
    """
    values = tensor.shape[-1]
    side = math.isqrt(values // (2 * channels))
    if frames != 2 or len(tensor.shape) != 2 or values != 2 * channels * side * side:
        raise refuse("sum_frames", tensor, f"its rows are no squares of {channels} channels in two frames")
    return reshape(HalvesAdded(tensor), (tensor.shape[0], channels, side, side))


@operation
def as_kernels(tensor: LazyTensor, channels: int, side: int) -> LazyTensor:
    """Kernels as vectors, (out, ``channels`` · ``side`` · ``side``), as (out, channels, side, side)."""
    return reshape(tensor, (tensor.shape[0], channels, side, side))
