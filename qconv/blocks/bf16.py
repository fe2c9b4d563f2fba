"""BF16: weights as the upper halves of binary32 numbers, rounded half to even."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks.lanes import bits, inline, narrow16
from qconv.blocks.plain import PlainCodec


@inline
def _rounded(v):
    pattern = bits(v)
    return narrow16((pattern + (((pattern >> 16) & 1) + 0x7FFF)) >> 16)


CODEC = PlainCodec("BF16", np.uint16, _rounded)
