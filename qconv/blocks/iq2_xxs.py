"""IQ2_XXS: super-blocks of 8 sub-blocks of 32 weights, 4-bit scales, four points and their signs each; decoded only."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks.codebook import codebook, eight, even_signs, negate
from qconv.blocks.codec import Decoder
from qconv.blocks.compile import kernel
from qconv.blocks.lanes import at, store
from qconv.blocks.layout import offsets
from qconv.blocks.unpack import half, uint32

_FIELDS = offsets("IQ2_XXS")
_POINTS = codebook("IQ2_XXS", 256, 8)


@kernel("IQ2_XXS")
def _decode(blocks, out):
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        d = half(block, _FIELDS.d)
        for j in range(8):
            qs = _FIELDS.qs + 8 * j
            rest = uint32(block, qs + 4)
            scale = d * np.float32(0.5 + (rest >> 28)) * np.float32(0.25)
            for n in range(4):
                v = eight(_POINTS, block[qs + n]) * scale
                store(out, i * 256 + 32 * j + 8 * n, negate(v, even_signs(rest >> 7 * n & 127)))


CODEC = Decoder("IQ2_XXS", _decode)
