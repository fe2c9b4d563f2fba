"""BF16: weights as the upper halves of binary32 numbers, rounded half to even."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.compile import flat, kernel
from qconv.blocks.lanes import bits, inline, narrow16
from qconv.blocks.plain import decode_plain, encode_plain


def encode_rows(
    rows: NDArray[Any], importance: NDArray[np.float32] | None, out: NDArray[np.uint8], search: str
) -> bool:
    """See ``qconv.blocks``."""
    return bool(_encode(flat(rows), out.reshape(-1).view(np.uint16)))


def decode_rows(blocks: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """See ``qconv.blocks``."""
    _decode(blocks.reshape(-1).view(np.uint16), out.reshape(-1))


@inline
def _rounded(v):
    pattern = bits(v)
    return narrow16((pattern + (((pattern >> 16) & 1) + 0x7FFF)) >> 16)


@kernel
def _encode(rows, out):
    return encode_plain(rows, out, _rounded)


@kernel
def _decode(numbers, out):
    decode_plain(numbers, out)
