"""NVFP4 weights carried over bit for bit into GGUF's blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import Combined, LazyTensor, buffer, columns, names
from qconv.types import Rows

_GROUP = 16
_PER_BLOCK = 4
_HALF = _GROUP // 4


@dataclass(frozen=True, slots=True)
class Nvfp4Blocks(Combined):
    """Codes, U8 ``(..., columns / 2)``, and E4M3 scales of 16 columns, as rows of GGUF's NVFP4.

    A source byte ``i`` of a group holds weight ``2 i`` in its low and ``2 i + 1`` in its high half; GGUF's byte ``i``
    holds weight ``i`` low and ``i + 8`` high.  A block is four groups, their scales first.
    """

    @property
    def dtype(self) -> str:
        return "NVFP4"

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.parts[0].shape[:-1], 2 * self.parts[0].shape[-1])

    def memory(self, rows: int) -> int:
        return 3 * rows * columns(self) + sum(part.memory(rows) for part in self.parts)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        count = columns(self) // (_GROUP * _PER_BLOCK)
        codes, scales = (part.read(start, stop).view(np.uint8) for part in self.parts)
        cells = target.reshape(stop - start, count, _PER_BLOCK * (1 + _GROUP // 2))
        cells[:, :, :_PER_BLOCK] = scales.reshape(stop - start, count, _PER_BLOCK)
        groups = codes.reshape(stop - start, count, _PER_BLOCK, _GROUP // 2)
        first, second = groups[..., :_HALF], groups[..., _HALF:]
        packed = np.empty_like(groups)
        packed[..., 0::2] = (first & 0x0F) | (second << 4)
        packed[..., 1::2] = (first >> 4) | (second & 0xF0)
        cells[:, :, _PER_BLOCK:] = packed.reshape(stop - start, count, -1)
        return target

    def describe(self) -> str:
        return f"nvfp4({names(self.parts)})"


def nvfp4_blocks(codes: LazyTensor, scales: LazyTensor) -> Nvfp4Blocks:
    """Columns must be a multiple of a block's 64."""
    return Nvfp4Blocks((codes, scales))
