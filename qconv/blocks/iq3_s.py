"""IQ3_S: super-blocks of 8 sub-blocks of 32 weights, 4-bit scales, eight points and their signs each; decoded only."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks.codebook import codebook, four_and_four, negate
from qconv.blocks.codec import Decoder
from qconv.blocks.compile import kernel
from qconv.blocks.lanes import at, store
from qconv.blocks.layout import offsets
from qconv.blocks.unpack import half, nibble

_FIELDS = offsets("IQ3_S")
_POINTS = codebook("IQ3_S", 512, 4)


@kernel("IQ3_S")
def _decode(blocks, out):
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        d = half(block, _FIELDS.d)
        for j in range(8):
            scale, high = d * np.float32(1 + 2 * nibble(block, _FIELDS.scales, j)), block[_FIELDS.qh + j]
            for n in range(4):
                qs = _FIELDS.qs + 8 * j + 2 * n
                first, second = block[qs] | (high >> 2 * n & 1) << 8, block[qs + 1] | (high >> 2 * n + 1 & 1) << 8
                v = four_and_four(_POINTS, first, second) * scale
                store(out, i * 256 + 32 * j + 8 * n, negate(v, block[_FIELDS.signs + 4 * j + n]))


CODEC = Decoder("IQ3_S", _decode)
