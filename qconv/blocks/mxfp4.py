"""MXFP4: blocks of 32 weights, a power of two and 4-bit floats (OCP microscaling formats 1.0); decoded only."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.compile import kernel
from qconv.blocks.lanes import floats, join, lane, load, select, store, to_float, widen
from qconv.blocks.uneven import pick

_BYTES = 17
_TWICE = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
"""Twice the values of e2m1, so that they are integers."""
_TABLE = tuple(value + 12 for value in _TWICE)


def decode_rows(blocks: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """See ``qconv.blocks``."""
    _decode(blocks.reshape(-1), out.reshape(-1))


@kernel
def _decode(blocks, out):
    for i in range(blocks.size // _BYTES):
        e = widen(load(blocks, i * _BYTES, 1))
        # 2**(e - 128), which is subnormal for 0 and 1
        scale = lane(floats(select(e < 2, 0x200000 << e, (e - 1) << 23)), 0)
        q = load(blocks, i * _BYTES + 1, 16)
        store(out, i * 32, to_float(widen(pick(join(q & 15, q >> 4), _TABLE)) - 12) * scale)
