"""Q1_0: blocks of 128 weights, a scale and a bit each, its sign: ``x = d * (2 * q - 1)``; decoded only."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from qconv.blocks.codec import Decoder
from qconv.blocks.compile import kernel
from qconv.blocks.lanes import at, store, to_float, widen
from qconv.blocks.layout import offsets
from qconv.blocks.unpack import half, spread_bits

_FIELDS = offsets("Q1_0")


@kernel("Q1_0")
def _decode(blocks, out):
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        d = half(block, _FIELDS.d)
        for j in range(4):
            q = widen(spread_bits(block, _FIELDS.qs + 4 * j, 2))
            store(out, i * 128 + 32 * j, to_float(q - 1) * d)


CODEC = Decoder("Q1_0", _decode)
