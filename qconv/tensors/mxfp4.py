"""MXFP4 weights carried over bit for bit into GGUF's blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import Combined, LazyTensor, buffer, columns, names, refuse
from qconv.tensors.registry import combination
from qconv.types import Rows, shape_text

_WEIGHTS = 32
_PACKED = _WEIGHTS // 2


@dataclass(frozen=True, slots=True)
class Mxfp4(Combined):
    """Blocks of 32 weights and their E8M0 scales, two source tensors, as rows of GGUF's MXFP4.

    A source byte ``i`` holds weight ``2 i`` in its low and ``2 i + 1`` in its high half; GGUF's byte ``i`` holds weight
    ``i`` low and ``i + 16`` high, after the scale's byte.
    """

    @property
    def dtype(self) -> str:
        return "MXFP4"

    @property
    def shape(self) -> tuple[int, ...]:
        scales = self.parts[1].shape
        return (*scales[:-1], scales[-1] * _WEIGHTS)

    def memory(self, rows: int) -> int:
        packed = rows * columns(self) // 2
        return 3 * packed + sum(part.memory(rows) for part in self.parts)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        blocks, scales = self.parts
        n_blocks = scales.shape[-1]
        per_row = n_blocks if len(blocks.shape) == len(scales.shape) + 1 else 1
        packed = blocks.read(start * per_row, stop * per_row).view(np.uint8).reshape(stop - start, n_blocks, _PACKED)
        cells = target.reshape(stop - start, n_blocks, 1 + _PACKED)
        cells[:, :, 0] = scales.read(start, stop).view(np.uint8)
        first, second = packed[:, :, : _PACKED // 2], packed[:, :, _PACKED // 2 :]
        cells[:, :, 1::2] = (first & 0x0F) | (second << 4)
        cells[:, :, 2::2] = (first >> 4) | (second & 0xF0)
        return target

    def describe(self) -> str:
        return f"mxfp4({names(self.parts)})"


@combination
def mxfp4(parts: Sequence[LazyTensor]) -> LazyTensor:
    """From packed weights, ``(..., blocks, 16)`` or ``(..., blocks * 16)``, and scales, ``(..., blocks)``."""
    packed, scales = parts
    wanted = {(*scales.shape, _PACKED), (*scales.shape[:-1], scales.shape[-1] * _PACKED)}
    if packed.dtype not in ("U8", "I8") or scales.dtype not in ("U8", "I8", "F8_E8M0") or packed.shape not in wanted:
        raise refuse("mxfp4", packed, f"scales are {shape_text(scales.shape)} of {scales.dtype}")
    return Mxfp4((packed, scales))
