"""Quantized weights in the block type that holds the same numbers: codes, scales and all.

A grid of a checkpoint and one of ggml agree where scales are of runs of columns that a multiple of a block makes, and
F16 holds them: symmetric codes become Q4_0, Q5_0 or Q8_0; codes with an offset Q4_1 or Q5_1, whose offset is a zero
point times its scale, rounded once to F16; MXFP4 and NVFP4 stay what they are.  Operations that pick rows leave a grid
as it is.

Scales and zero points are read to tell; codes are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qconv import blocks
from qconv.tensors.base import LazyTensor, Unary, buffer, columns, memory_of_rows, n_rows
from qconv.tensors.combine import Joined
from qconv.tensors.dequantized import Dequantized
from qconv.tensors.floats import as_float32
from qconv.tensors.mxfp4 import mxfp4
from qconv.tensors.quantized.affine import Affine
from qconv.tensors.quantized.awq import Fours, Interleaved
from qconv.tensors.quantized.blockwise import Blockwise
from qconv.tensors.quantized.codes import Codes, VerticalCodes
from qconv.tensors.quantized.fp4 import Fp4
from qconv.tensors.quantized.nvfp4 import Divided
from qconv.tensors.quantized.nvfp4_blocks import nvfp4_blocks
from qconv.tensors.quantized.retyped import Retyped, retyped
from qconv.tensors.rows import Gather
from qconv.tensors.scaled import Scaled
from qconv.tensors.shapes import Reshape
from qconv.tensors.stacked import StackedCodes
from qconv.types import Rows

_CHUNK = 1 << 20
"""Numbers read at a time to look at them."""
_BLOCK = 32
_LARGE_BLOCK = 256
_GROUP = 16
_WIDE = 64


@dataclass(frozen=True, slots=True)
class Lossless:
    """``tensor`` in ``block_type``; of ternary weights, which the encoder finds again, in float32.

    ``how``: what was rounded, if anything was.  ``scale``: what the weights are multiplied with besides, one number or
    one for each matrix of a stack.
    """

    tensor: LazyTensor
    block_type: str
    how: str
    scale: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Blocks(Unary):
    """``inner``'s numbers in a block type: ``(codes - zero) * scale`` and ``offset``, put together as they are."""

    block_type: str

    @property
    def dtype(self) -> str:
        return self.block_type

    def memory(self, rows: int) -> int:
        return memory_of_rows(self.inner, rows) + 4 * rows * columns(self)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        if not target.size:
            return target
        grid = _grid(self.inner)
        assert grid is not None  # a tensor without one is not put together
        codes, zero = grid.codes.read(start, stop).astype(np.int16), grid.zeros(start, stop)
        scale = grid.scales(start, stop)
        m = None
        if self.block_type in ("Q4_1", "Q5_1"):
            offset = grid.offsets(start, stop)
            with np.errstate(over="ignore"):
                m = grid.spread((0 if offset is None else offset) - zero * scale).astype(np.float16)
        else:
            codes -= zero[:1, :1].astype(np.int16)
        target[...] = blocks.assemble(self.block_type, codes, grid.spread(scale).astype(np.float16), m)
        return target

    def describe(self) -> str:
        return f"as {self.block_type}: {self.inner.describe()}"


@dataclass(frozen=True, slots=True)
class _Grid:
    """Codes, and what goes with their groups."""

    codes: LazyTensor
    bits: int
    scale: LazyTensor
    zero: LazyTensor | int
    offset: LazyTensor | None
    group: int

    def scales(self, start: int, stop: int) -> NDArray[np.float32]:
        return _rows(self.scale, start, stop)

    def zeros(self, start: int, stop: int) -> NDArray[np.float32]:
        return np.full((1, 1), self.zero, np.float32) if isinstance(self.zero, int) else _rows(self.zero, start, stop)

    def offsets(self, start: int, stop: int) -> NDArray[np.float32] | None:
        return None if self.offset is None else _rows(self.offset, start, stop)

    def spread(self, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        """A number for each block of the rows, from one for each group."""
        count = columns(self.codes) // _BLOCK
        return np.repeat(numbers, count // numbers.shape[1], axis=1)


def lossless(tensor: LazyTensor) -> Lossless | str | None:
    """The tensor in the type that loses nothing; why there is none; None for a tensor that is not quantized."""
    match tensor:
        case Affine() | Scaled():
            return _ternary(tensor) or _floats4(tensor) or _blocks(tensor)
        case Gather() | Reshape():
            inner = lossless(tensor.inner)
            same = columns(tensor) == columns(tensor.inner) and len(tensor.shape) > 1 < len(tensor.inner.shape)
            if isinstance(inner, Lossless) and len(inner.scale) > 1 and tensor.shape[0] != len(inner.scale):
                return "its parts have scales of their own"
            return _rewrapped(inner, lambda part: replace(tensor, inner=part)) if same else _only(inner, "its shape")
        case Joined():
            return _joined(tensor)
        case Blockwise():
            return "values of a table, which no type holds"
        case Dequantized():
            return None
        case Unary():
            return _ternary(tensor) or _only(lossless(tensor.inner), "its values")
    return None


def _only(inner: Lossless | str | None, what: str) -> str | None:
    return f"an operation changes {what}" if isinstance(inner, Lossless) else inner


def _rewrapped(inner: Lossless | str | None, wrap: Callable[[LazyTensor], LazyTensor]) -> Lossless | str | None:
    return replace(inner, tensor=wrap(inner.tensor)) if isinstance(inner, Lossless) else inner


def _joined(tensor: Joined) -> Lossless | str | None:
    parts = [lossless(part) for part in tensor.parts]
    if all(part is None for part in parts):
        return None
    kept = [part for part in parts if isinstance(part, Lossless)]
    if len(kept) < len(parts):
        return next((part for part in parts if isinstance(part, str)), "some of its parts are not quantized")
    if len({part.block_type for part in kept}) > 1:
        return "its parts are of several types"
    how = next((part.how for part in kept if part.how), "")
    scale = tuple(number for part in kept for number in part.scale)
    if len(tensor.shape) < 3 and len(set(scale)) > 1:
        return "its parts have scales of their own"
    joined = replace(tensor, parts=tuple(part.tensor for part in kept))
    return Lossless(joined, kept[0].block_type, how, scale if len(tensor.shape) > 2 else scale[:1])


def _ternary(tensor: LazyTensor) -> Lossless | str | None:
    """Packed ternary numbers with one scale, which an encoder finds again."""
    codes: object = tensor.inner if isinstance(tensor, Unary) else tensor
    if isinstance(codes, Affine):
        codes = codes.inner
    if not isinstance(codes, StackedCodes) or codes.bits != 2 or len(codes.shifts) != 4 or codes.shifts[0] != 0:
        return None
    if columns(tensor) % _LARGE_BLOCK:
        return f"rows of {columns(tensor)} weights are not a multiple of {_LARGE_BLOCK}"
    return Lossless(tensor, "TQ2_0", "one rounding of the scale")


def _floats4(tensor: LazyTensor) -> Lossless | str | None:
    """4-bit floats with the scales of MXFP4, or of NVFP4."""
    if not isinstance(tensor, Scaled) or not isinstance(tensor.inner, Fp4):
        return None
    scale, step, width = tensor.scale, tensor.steps[-1], columns(tensor)
    packed = retyped(tensor.inner.inner, "U8", "U32", "I32")
    if scale.dtype == "F8_E8M0" and step == _BLOCK:
        return Lossless(mxfp4([packed, scale.inner if isinstance(scale, Retyped) else scale]), "MXFP4", "")
    second: LazyTensor | None = None
    if isinstance(scale, Scaled | Divided):
        second, scale = scale.scale if isinstance(scale, Scaled) else scale.divisor, scale.inner
    if scale.dtype != "F8_E4M3" or step != _GROUP or width % _WIDE:
        return "4-bit floats with scales that no type has"
    if not all((chunk >= 0).all() for chunk in _chunks(_reader(scale), scale)):
        return "NVFP4 does not hold scales below zero, or NaN"
    numbers: tuple[float, ...] = ()
    if second is not None:
        whole = as_float32(second.read(0, n_rows(second)), second.dtype).reshape(-1)
        with np.errstate(all="ignore"):
            numbers = tuple(map(float, whole if isinstance(tensor.scale, Scaled) else np.float32(1) / whole))
    return Lossless(nvfp4_blocks(packed, scale), "NVFP4", "", numbers)


def _blocks(tensor: Affine | Scaled) -> Lossless | str:
    if isinstance(tensor, Affine):
        tensor = tensor.prepare()
        if tensor.order is not None:
            return "its groups are no runs of columns (activation order)"
    grid = _grid(tensor)
    if grid is None:
        return f"{tensor.inner.dtype} numbers, which no type holds"
    width = columns(tensor)
    if width % _BLOCK or not width:
        return f"rows of {width} weights are not a multiple of {_BLOCK}"
    if grid.group % _BLOCK or width % grid.group:
        return f"groups of {grid.group} columns are not a multiple of {_BLOCK}"
    if not all(_in_f16(part) for part in _chunks(grid.scales, grid.scale)):
        return "F16 does not hold its scales"
    zero = grid.zero if isinstance(grid.zero, int) else _same(grid.zeros, grid.zero)
    if grid.offset is None and zero is not None:
        low, high = (-128, 127) if grid.codes.dtype == "I8" else (-zero, (1 << grid.bits) - 1 - zero)
        for block_type in ("Q4_0", "Q5_0", "Q8_0"):
            if blocks.LOWEST[block_type] <= low and high <= blocks.HIGHEST[block_type]:
                return Lossless(Blocks(tensor, block_type), block_type, "")
        return f"{grid.bits} bits around {zero}, which no type holds"
    for block_type in ("Q4_1", "Q5_1"):
        if (1 << grid.bits) - 1 <= blocks.HIGHEST[block_type] and grid.codes.dtype == "U8":
            exact = (
                zero == 0 and grid.offset is not None and all(map(_in_f16, _chunks(_reader(grid.offset), grid.offset)))
            )
            return Lossless(Blocks(tensor, block_type), block_type, "" if exact else "one rounding of the offsets")
    return f"{grid.bits} bits with offsets, which no type holds"


def _grid(tensor: LazyTensor) -> _Grid | None:
    if isinstance(tensor, Affine):
        codes = tensor.inner
        if isinstance(codes, Codes | VerticalCodes):
            bits = codes.bits
        elif isinstance(codes, Interleaved | Fours):
            bits = 4
        elif codes.dtype == "I8":
            bits = 8
        else:
            return None
        group = tensor.group if columns(tensor.scale) > 1 else columns(tensor)
        return _Grid(codes, bits, tensor.scale, tensor.zero, tensor.offset, group)
    if isinstance(tensor, Scaled) and tensor.inner.dtype == "I8":
        rows = tensor.steps[:-1]
        if any(step not in (1, None) for step in rows) or len(tensor.scale.shape) != len(tensor.shape):
            return None
        return _Grid(tensor.inner, 8, tensor.scale, 0, None, tensor.steps[-1] or columns(tensor))
    return None


def _rows(part: LazyTensor, start: int, stop: int) -> NDArray[np.float32]:
    if n_rows(part) == 1:
        one = as_float32(part.read(0, 1), part.dtype)
        return np.broadcast_to(one, (stop - start, one.shape[1]))
    return as_float32(part.read(start, stop), part.dtype)


def _reader(part: LazyTensor) -> Callable[[int, int], NDArray[np.float32]]:
    return lambda start, stop: _rows(part, start, stop)


def _chunks(read: Callable[[int, int], NDArray[np.float32]], part: LazyTensor) -> Iterator[NDArray[np.float32]]:
    rows, step = n_rows(part), max(1, _CHUNK // max(1, columns(part)))
    for start in range(0, rows, step):
        yield read(start, min(rows, start + step))


def _in_f16(numbers: NDArray[np.float32]) -> bool:
    with np.errstate(over="ignore"):
        return bool((numbers.astype(np.float16) == numbers).all() and np.isfinite(numbers).all())


def _same(read: Callable[[int, int], NDArray[np.float32]], part: LazyTensor) -> int | None:
    """The number that all are; None where they differ."""
    extremes: set[float] = set()
    for chunk in _chunks(read, part):
        extremes |= {float(chunk.min()), float(chunk.max())} if chunk.size else set()
        if len(extremes) > 1:
            return None
    return int(extremes.pop()) if extremes else None
