"""Q5_1: blocks of 32 weights, a scale, a minimum and 5-bit levels."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks import above_min
from qconv.blocks.by_extremes import AT_ONCE
from qconv.blocks.compile import flat, kernel
from qconv.blocks.groups import encode_groups
from qconv.blocks.lanes import join, load, store, to_float, widen
from qconv.blocks.nibbles import row_means
from qconv.blocks.unpack import fifth_bits, half

_BYTES = 24
_TOP = 31
_quantize = above_min.encode
_search = above_min.encode_important


def encode_rows(
    rows: NDArray[Any], importance: NDArray[np.float32] | None, out: NDArray[np.uint8], search: str
) -> bool:
    """See ``qconv.blocks``."""
    if importance is None:
        return encode_groups(_encode, rows, None, out, AT_ONCE)
    return bool(_encode_important(flat(rows), importance, row_means(rows), out.reshape(-1)))


def decode_rows(blocks: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """See ``qconv.blocks``."""
    _decode(blocks.reshape(-1), blocks.reshape(-1).view(np.uint16), out.reshape(-1))


@kernel
def _encode(rows, importance, first, out):
    return _quantize(rows, out, _TOP, _BYTES)


@kernel
def _encode_important(rows, importance, means, out):
    return _search(rows, importance, means, out, _TOP, _BYTES)


@kernel
def _decode(blocks, halves, out):
    for i in range(blocks.size // _BYTES):
        both = load(blocks, i * _BYTES + 8, 16)
        level = join(both & 15, both >> 4) | fifth_bits(blocks, i * _BYTES + 4)
        d, minimum = half(halves, i * _BYTES // 2), half(halves, i * _BYTES // 2 + 1)
        store(out, i * 32, to_float(widen(level)) * d + minimum)
