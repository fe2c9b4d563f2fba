"""Q4_K: super-blocks of 256 in 144 bytes, 8 sub-blocks of 32 with 6-bit scales and minimums, 4 bits a weight."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.compile import kernel, run
from qconv.blocks.lanes import inline, narrow, store
from qconv.blocks.scale_min_blocks import encode_blocks


@inline
def _pack(out, o, pair, low, high):
    store(out, o + 16 + 32 * pair, narrow(low | high << 4))


@kernel
def _encode(x, importance, out, doubtful, redo):
    return encode_blocks(x, importance, out, doubtful, redo, 144, 15, -1.0, 0.1, 21, _pack)


def encode_rows(
    rows: NDArray[Any], importance: NDArray[np.float32] | None, out: NDArray[np.uint8], search: str
) -> bool:
    """As ``qconv.blocks`` asks of a block type."""
    return run(_encode, rows, importance, out, 256)
