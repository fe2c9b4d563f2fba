"""MXFP4: blocks of 32 weights, a power of two and 4-bit floats (OCP microscaling formats 1.0)."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import math

from qconv.blocks import lanes
from qconv.blocks.codec import RoundingCodec
from qconv.blocks.compile import kernel
from qconv.blocks.e2m1 import dequantize, quantize
from qconv.blocks.lanes import as_float, at, bits, floats, inline, lane, load, part, select, store, to_float, widen
from qconv.blocks.layout import offsets
from qconv.blocks.nibbles import pack
from qconv.blocks.tiles import finite, max_lane

_FIELDS = offsets("MXFP4")
_LN2 = math.log(2)


@kernel("MXFP4")
def _encode(rows, out):
    for i in range(rows.size // 32):
        block, v = at(out, i * _FIELDS.end), as_float(load(rows, i * 32, 32))
        magnitudes = bits(lanes.abs(v))
        largest = max_lane(lanes.max(part(magnitudes, 0, 16), part(magnitudes, 16, 16)))
        if not finite(largest):
            return False
        e = select(largest > 0, _exponent(largest) - 2 & 0xFF, 0)  # ggml keeps the low byte
        block[_FIELDS.e] = lane(e, 0)
        pack(block, quantize(v, _scale(e)), _FIELDS.qs, None)
    return True


@inline
def _exponent(largest):
    """The biased exponents of positive numbers, given as bits, by ggml's way: ``floor(log2f(x)) + 127``.

    Right below a power of two, ``2**k * (1 - n / 2**24)``, the logarithm ``k - n / (2**24 * ln 2)`` is rounded to ``k``
    where the distance is less than half the step of float32 numbers there.
    """
    subnormal = largest < 0x800000
    pattern = select(subnormal, bits(to_float(largest)), largest)
    exponent = (pattern >> 23) - select(subnormal, 149, pattern & 0)
    k, n = exponent - 126, 0x800000 - (pattern & 0x7FFFFF)
    step = floats(bits(to_float(select(k > 0, k - 1, -k))) & 0x7F800000)  # a power of two, in units of 2**-23
    return exponent + select(to_float(n) < step * _LN2, 1, n & 0)


@inline
def _scale(e):
    """``2**(e - 128)``, which is subnormal for 0 and 1."""
    return lane(floats(select(e < 2, 0x200000 << e, (e - 1) << 23)), 0)


@kernel("MXFP4")
def _decode(blocks, out):
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        scale = _scale(widen(load(block, _FIELDS.e, 1)))
        store(out, i * 32, dequantize(load(block, _FIELDS.qs, 16)) * scale)


CODEC = RoundingCodec("MXFP4", _encode, _decode)
