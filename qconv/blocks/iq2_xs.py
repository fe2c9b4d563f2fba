"""IQ2_XS: super-blocks of 16 sub-blocks of 16 weights, 4-bit scales, two points and their signs each; decoded only."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks.codebook import codebook, eight, even_signs, negate
from qconv.blocks.codec import Decoder
from qconv.blocks.compile import kernel
from qconv.blocks.lanes import at, store
from qconv.blocks.layout import offsets
from qconv.blocks.unpack import half, nibble, uint16

_FIELDS = offsets("IQ2_XS")
_POINTS = codebook("IQ2_XS", 512, 8)


@kernel("IQ2_XS")
def _decode(blocks, out):
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        d = half(block, _FIELDS.d)
        for j in range(16):
            scale = d * np.float32(0.5 + nibble(block, _FIELDS.scales, j)) * np.float32(0.25)
            for n in range(2 * j, 2 * j + 2):
                q = uint16(block, _FIELDS.qs + 2 * n)
                store(out, i * 256 + 8 * n, negate(eight(_POINTS, q & 511) * scale, even_signs(q >> 9)))


CODEC = Decoder("IQ2_XS", _decode)
