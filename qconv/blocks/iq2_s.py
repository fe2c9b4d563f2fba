"""IQ2_S: super-blocks of 16 sub-blocks of 16 weights, 4-bit scales, two points and their signs each; decoded only."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks.codebook import codebook, eight, negate
from qconv.blocks.codec import Decoder
from qconv.blocks.compile import kernel
from qconv.blocks.lanes import at, store
from qconv.blocks.layout import offsets
from qconv.blocks.unpack import half, nibble

_FIELDS = offsets("IQ2_S")
_POINTS = codebook("IQ2_S", 1024, 8)


@kernel("IQ2_S")
def _decode(blocks, out):
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        d = half(block, _FIELDS.d)
        for j in range(16):
            scale = d * np.float32(0.5 + nibble(block, _FIELDS.scales, j)) * np.float32(0.25)
            for n in range(2 * j, 2 * j + 2):
                k = block[_FIELDS.qs + n] | (block[_FIELDS.qh + n // 4] >> 2 * (n % 4) & 3) << 8
                store(out, i * 256 + 8 * n, negate(eight(_POINTS, k) * scale, block[_FIELDS.signs + n]))


CODEC = Decoder("IQ2_S", _decode)
