"""TQ2_0: super-blocks of 256 weights, a scale and 2-bit quants, of which encoding uses three: ``x = d * (q - 1)``."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from qconv.blocks.codec import RoundingCodec
from qconv.blocks.compile import kernel
from qconv.blocks.lanes import at, load, narrow, store, widen
from qconv.blocks.layout import offsets
from qconv.blocks.ternary import dequantize, fit, quantize
from qconv.blocks.tiles import finite, put_uint16
from qconv.blocks.unpack import half

_FIELDS = offsets("TQ2_0")


@kernel("TQ2_0")
def _encode(rows, out):
    for i in range(rows.size // 256):
        x, block = at(rows, i * 256), at(out, i * _FIELDS.end)
        largest, d, inverse = fit(x)
        if not finite(largest):
            return False
        for n in range(2):
            q = quantize(x, 128 * n, 32, inverse)
            for k in range(1, 4):
                q = q | quantize(x, 128 * n + 32 * k, 32, inverse) << 2 * k
            store(block, _FIELDS.qs + 32 * n, narrow(q))
        put_uint16(block, _FIELDS.d, d)
    return True


@kernel("TQ2_0")
def _decode(blocks, out):
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        d = half(block, _FIELDS.d)
        for j in range(8):
            q = load(block, _FIELDS.qs + 32 * (j >> 2), 32) >> 2 * (j & 3) & 3
            store(out, i * 256 + 32 * j, dequantize(widen(q), d))


CODEC = RoundingCodec("TQ2_0", _encode, _decode)
