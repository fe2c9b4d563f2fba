"""F32: weights as binary32 numbers; encoding widens float16 and bfloat16."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.lanes import inline
from qconv.blocks.plain import PlainCodec


@inline
def _rounded(v):
    return v


class _Codec(PlainCodec):
    def decode(self, blocks: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        np.copyto(out, blocks.view(np.float32))


CODEC = _Codec("F32", np.float32, _rounded)
