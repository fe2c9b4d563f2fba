"""Q5_K: super-blocks of 256 in 176 bytes, 8 sub-blocks of 32 with 6-bit scales and minimums, 5 bits a weight."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.compile import flat, kernel, run
from qconv.blocks.lanes import (
    inline,
    load,
    narrow,
    store,
    to_float,
    widen,
)
from qconv.blocks.scale_min_blocks import encode_blocks, search_plainly, search_weighed
from qconv.blocks.thorough_blocks import search_thoroughly
from qconv.blocks.unpack import half, scale_and_min


@inline
def _pack(out, o, pair, low, high):
    above = narrow(low >> 4 << 2 * pair | high >> 4 << 2 * pair + 1)
    store(out, o + 16, above if pair == 0 else above | load(out, o + 16, 32))
    store(out, o + 48 + 32 * pair, narrow((low & 15) | (high & 15) << 4))


@kernel
def _encode(x, out, doubtful, redo):
    return encode_blocks(x, None, out, doubtful, redo, 176, 31, _pack, search_plainly, (-0.5, 0.1, 16))


@kernel
def _encode_weighed(x, importance, out):
    return encode_blocks(x, importance, out, None, None, 176, 31, _pack, search_weighed, 63)


@kernel
def _encode_thoroughly(x, out, doubtful, redo):
    return encode_blocks(x, None, out, doubtful, redo, 176, 31, _pack, search_thoroughly, (-0.5, 0.1, 16))


def encode_rows(
    rows: NDArray[Any], importance: NDArray[np.float32] | None, out: NDArray[np.uint8], search: str
) -> bool:
    """As ``qconv.blocks`` asks of a block type."""
    if importance is not None:
        return bool(_encode_weighed(flat(rows), importance, out.reshape(-1)))
    return run(_encode_thoroughly if search == "thorough" else _encode, _encode, rows, out)


def decode_rows(blocks: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """As ``qconv.blocks`` asks of a block type."""
    _decode(blocks.reshape(-1), blocks.reshape(-1).view(np.uint16), out.reshape(-1))


@kernel
def _decode(blocks, halves, out):
    for i in range(blocks.size // 176):
        begin = i * 176
        d, dmin = half(halves, begin // 2), half(halves, begin // 2 + 1)
        fifths = load(blocks, begin + 16, 32)
        for j in range(8):
            scale, minimum = scale_and_min(blocks, begin + 4, j)
            both = load(blocks, begin + 48 + 32 * (j >> 1), 32)
            level = to_float(widen((both >> 4 if j & 1 else both & 15) | (fifths >> j & 1) << 4))
            store(out, i * 256 + 32 * j, level * (d * np.float32(scale)) - dmin * np.float32(minimum))
