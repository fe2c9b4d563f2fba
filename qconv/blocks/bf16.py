"""BF16: weights as the upper halves of binary32 numbers, rounded half to even."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.compile import flat, kernel
from qconv.blocks.lanes import LANES, any_lane, as_float, bits, inline, load, most, narrow16, size, splat, store

_INFINITY = 0x7F800000


def encode_rows(
    rows: NDArray[Any], importance: NDArray[np.float32] | None, out: NDArray[np.uint8], search: str
) -> bool:
    """See ``qconv.blocks``."""
    return bool(_encode(flat(rows), out.reshape(-1).view(np.uint16)))


def decode_rows(blocks: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """See ``qconv.blocks``."""
    _decode(blocks.reshape(-1).view(np.uint16), out.reshape(-1))


@inline
def _to_upper_half(v):
    pattern = bits(v)
    return narrow16((pattern + 0x7FFF + ((pattern >> 16) & 1)) >> 16)


@kernel
def _encode(rows, out):
    whole = rows.size - rows.size % LANES
    largest, last = bits(splat(0.0, LANES)), bits(splat(0.0, 1))
    for i in range(0, whole, LANES):
        v = as_float(load(rows, i, LANES))
        store(out, i, _to_upper_half(v))
        largest = most(bits(size(v)), largest)
    for i in range(whole, rows.size):
        v = as_float(load(rows, i, 1))
        store(out, i, _to_upper_half(v))
        last = most(bits(size(v)), last)
    return not any_lane(largest >= _INFINITY) and not any_lane(last >= _INFINITY)


@kernel
def _decode(halves, out):
    whole = halves.size - halves.size % LANES
    for i in range(0, whole, LANES):
        store(out, i, as_float(load(halves, i, LANES)))
    for i in range(whole, halves.size):
        store(out, i, as_float(load(halves, i, 1)))
