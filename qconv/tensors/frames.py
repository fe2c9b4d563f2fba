"""Kernels of convolutions: over time cut into those of single frames, and those kept as matrices."""

from __future__ import annotations

import math

from qconv.tensors.base import LazyTensor, refuse
from qconv.tensors.registry import operation
from qconv.tensors.rows import gather, whole
from qconv.tensors.shapes import reshape, transpose


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
