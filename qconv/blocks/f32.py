"""F32: weights as binary32 numbers; encoding widens float16 and bfloat16."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.compile import flat, kernel
from qconv.blocks.lanes import inline
from qconv.blocks.plain import encode_plain


def encode_rows(
    rows: NDArray[Any], importance: NDArray[np.float32] | None, out: NDArray[np.uint8], search: str
) -> bool:
    """See ``qconv.blocks``."""
    return bool(_encode(flat(rows), out.reshape(-1).view(np.float32)))


def decode_rows(blocks: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """See ``qconv.blocks``."""
    np.copyto(out, blocks.view(np.float32))


@inline
def _rounded(v):
    return v


@kernel
def _encode(rows, out):
    return encode_plain(rows, out, _rounded)
