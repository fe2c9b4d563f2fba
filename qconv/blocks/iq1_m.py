"""IQ1_M: super-blocks of 16 sub-blocks of 16 weights, 3-bit scales, two points and their shifts each; decoded only.

The super-block's scale is a binary16 number in the upper four bits of the four words that hold the sub-blocks' scales.
"""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks.codebook import codebook, eight
from qconv.blocks.codec import Decoder
from qconv.blocks.compile import kernel
from qconv.blocks.lanes import at, scratch, store, u8
from qconv.blocks.layout import offsets
from qconv.blocks.unpack import half, nibble, uint16

_FIELDS = offsets("IQ1_M")
_POINTS = codebook("IQ1", 2048, 8)


@kernel("IQ1_M")
def _decode(blocks, out):
    d_bytes = scratch(2, u8)
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        for n in range(2):
            upper = _FIELDS.scales + 4 * n + 1
            d_bytes[n] = block[upper] >> 4 | block[upper + 2] & 0xF0
        d = half(d_bytes, 0)
        for j in range(16):
            scales = uint16(block, _FIELDS.scales + 2 * (j // 4))
            scale = d * np.float32(2 * (scales >> 3 * (j % 4) & 7) + 1)
            for n in range(2 * j, 2 * j + 2):
                high = nibble(block, _FIELDS.qh, n)
                shift = np.float32(-0.125 if high >> 3 else 0.125)
                k = block[_FIELDS.qs + n] | (high & 7) << 8
                store(out, i * 256 + 8 * n, (eight(_POINTS, k) + shift) * scale)


CODEC = Decoder("IQ1_M", _decode)
