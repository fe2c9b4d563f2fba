"""IQ3_XXS: super-blocks of 8 sub-blocks of 32 weights, 4-bit scales, eight points and signs each; decoded only."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks.codebook import codebook, even_signs, four_and_four, negate
from qconv.blocks.codec import Decoder
from qconv.blocks.compile import kernel
from qconv.blocks.lanes import at, store
from qconv.blocks.layout import offsets
from qconv.blocks.unpack import half, uint32

_FIELDS = offsets("IQ3_XXS")
_POINTS = codebook("IQ3_XXS", 256, 4)


@kernel("IQ3_XXS")
def _decode(blocks, out):
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        d = half(block, _FIELDS.d)
        for j in range(8):
            rest = uint32(block, _FIELDS.signs + 4 * j)
            scale = d * np.float32(0.5 + (rest >> 28)) * np.float32(0.5)
            for n in range(4):
                qs = _FIELDS.qs + 8 * j + 2 * n
                v = four_and_four(_POINTS, block[qs], block[qs + 1]) * scale
                store(out, i * 256 + 32 * j + 8 * n, negate(v, even_signs(rest >> 7 * n & 127)))


CODEC = Decoder("IQ3_XXS", _decode)
