"""Q2_0: blocks of 64 weights, a scale and 2-bit quants: ``x = d * (q - 1)``; decoded only."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks.codec import Decoder
from qconv.blocks.compile import kernel
from qconv.blocks.lanes import at, load, repeat_each, store, widen
from qconv.blocks.layout import offsets
from qconv.blocks.ternary import dequantize
from qconv.blocks.unpack import half

_FIELDS = offsets("Q2_0")
_SHIFTS = np.tile([0, 2, 4, 6], 8).astype(np.uint8)


@kernel("Q2_0")
def _decode(blocks, out):
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        d = half(block, _FIELDS.d)
        for j in range(2):
            q = repeat_each(load(block, _FIELDS.qs + 8 * j, 8), 4) >> load(_SHIFTS, 0, 32) & 3
            store(out, i * 64 + 32 * j, dequantize(widen(q), d))


CODEC = Decoder("Q2_0", _decode)
