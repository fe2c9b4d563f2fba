"""IQ1_S: super-blocks of 8 sub-blocks of 32 weights, 3-bit scales, four points and a shift each; decoded only."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks.codebook import codebook, eight
from qconv.blocks.codec import Decoder
from qconv.blocks.compile import kernel
from qconv.blocks.lanes import at, store
from qconv.blocks.layout import offsets
from qconv.blocks.unpack import half, uint16

_FIELDS = offsets("IQ1_S")
_POINTS = codebook("IQ1", 2048, 8)


@kernel("IQ1_S")
def _decode(blocks, out):
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        d = half(block, _FIELDS.d)
        for j in range(8):
            high = uint16(block, _FIELDS.qh + 2 * j)
            scale = d * np.float32(2 * (high >> 12 & 7) + 1)
            shift = np.float32(-0.125 if high >> 15 else 0.125)
            for n in range(4):
                k = block[_FIELDS.qs + 4 * j + n] | (high >> 3 * n & 7) << 8
                store(out, i * 256 + 32 * j + 8 * n, (eight(_POINTS, k) + shift) * scale)


CODEC = Decoder("IQ1_S", _decode)
