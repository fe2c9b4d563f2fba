"""F16: weights as binary16 numbers, rounded half to even; what is too large becomes infinity."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks.lanes import inline, to_half
from qconv.blocks.plain import PlainCodec


@inline
def _rounded(v):
    return to_half(v)


CODEC = PlainCodec("F16", np.float16, _rounded)
