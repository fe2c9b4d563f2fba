"""IQ4_NL: blocks of 32 weights, a scale and 4-bit indices of 16 uneven values."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.compile import kernel
from qconv.blocks.groups import PLACE, encode_groups, find
from qconv.blocks.lanes import (
    LANES,
    f32,
    join,
    load,
    narrow,
    scratch,
    select,
    splat,
    store,
    to_float,
    to_half,
    u8,
    u16,
    widen,
)
from qconv.blocks.tiles import gather, put_half, turn_back
from qconv.blocks.uneven import VALUES, finite, nearest_index, pick, search, weigh, weigh_by_square
from qconv.blocks.unpack import half

_BYTES = 18
_MEMORY = 32 * LANES
_HALF_MEMORY = 16 * LANES
_TABLE = tuple(value + 128 for value in VALUES)


def encode_rows(
    rows: NDArray[Any], importance: NDArray[np.float32] | None, out: NDArray[np.uint8], search: str
) -> bool:
    """See ``qconv.blocks``."""
    return encode_groups(_encode, rows, importance, out, 32 * LANES)


def decode_rows(blocks: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """See ``qconv.blocks``."""
    _decode(blocks.reshape(-1), blocks.reshape(-1).view(np.uint16), out.reshape(-1))


@kernel
def _encode(rows, importance, first, out):
    places = scratch(LANES, PLACE)
    x, weights = scratch(_MEMORY, f32), scratch(_MEMORY, f32)
    packed = scratch(_HALF_MEMORY, u8)
    halves = scratch(LANES, u16)
    for start in range(0, rows.size, 32 * LANES):
        find(places, start, rows.size, 1, 32)
        gather(rows, places, 32, x)
        if importance is None:
            weigh_by_square(x, weights)
        else:
            find(places, first + start, importance.size, 1, 32)
            gather(importance, places, 32, weights)
            squares = splat(0.0, LANES)
            for i in range(32):
                v = load(x, i * LANES, LANES)
                squares = squares + v * v
            weigh(x, weights, squares * (2 / 32))
        scale, largest = search(x, weights)
        if not finite(largest):
            return False
        inverse = select(scale != 0.0, 1.0 / scale, 0.0)
        for i in range(16):
            low = nearest_index(inverse * load(x, i * LANES, LANES))
            high = nearest_index(inverse * load(x, (i + 16) * LANES, LANES))
            store(packed, i * LANES, narrow(low | high << 4))
        begin = start // 32 * _BYTES
        turn_back(packed, out, begin + 2, _BYTES)
        store(halves, 0, to_half(scale))
        for i in range(LANES):
            put_half(out, begin + i * _BYTES, halves[i])
    return True


@kernel
def _decode(blocks, halves, out):
    for i in range(blocks.size // _BYTES):
        q = load(blocks, i * _BYTES + 2, 16)
        values = widen(pick(join(q & 15, q >> 4), _TABLE)) - 128
        store(out, i * 32, to_float(values) * half(halves, i * _BYTES // 2))
