"""NVFP4: blocks of 4 sub-blocks of 16 weights, 8-bit scales (unsigned e4m3) and 4-bit floats."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from qconv.blocks import lanes
from qconv.blocks.codec import RoundingCodec
from qconv.blocks.compile import kernel
from qconv.blocks.e2m1 import dequantize, quantize
from qconv.blocks.lanes import (
    as_float,
    at,
    bits,
    floats,
    inline,
    lane,
    load,
    narrow,
    part,
    select,
    store,
    to_float,
    to_int,
    widen,
)
from qconv.blocks.layout import offsets
from qconv.blocks.tiles import finite, max_lane

_FIELDS = offsets("NVFP4")


@kernel("NVFP4")
def _encode(rows, out):
    for i in range(rows.size // 64):
        block = at(out, i * _FIELDS.end)
        for s in range(4):
            v = as_float(load(rows, i * 64 + 16 * s, 16))
            largest = max_lane(bits(lanes.abs(v)))
            if not finite(largest):
                return False
            d = _to_ue4m3(floats(largest) / 6.0)
            q = quantize(v, lane(_half_of(d), 0))
            block[_FIELDS.d + s] = lane(d, 0)
            store(block, _FIELDS.qs + 8 * s, narrow(part(q, 0, 8) | part(q, 8, 8) << 4))
    return True


@inline
def _to_ue4m3(v):
    """Numbers >= 0 as unsigned e4m3 in ggml's way, int32: halves rounded up, and what would be 256 or more 448."""
    # adding half of the last of three bits carries into the exponent, of which the bias is 120 less
    normal = (bits(v) + 0x80000 >> 20) - (120 << 3)
    subnormal = to_int(lanes.min(v * 512.0 + 0.5, 7.0))
    return select(v < 2.0**-6, subnormal, select(normal < 0x78, normal, 0x7E))


@inline
def _half_of(d):
    """Half of unsigned e4m3 numbers, which is 0 for 0x7F."""
    exponent = d >> 3 & 15
    subnormal = to_float(d & 7) * 2.0**-10
    normal = floats(exponent + 119 << 23 | (d & 7) << 20)
    return select(d == 0x7F, 0.0, select(exponent == 0, subnormal, normal))


@kernel("NVFP4")
def _decode(blocks, out):
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        for s in range(4):
            scale = lane(_half_of(widen(load(block, _FIELDS.d + s, 1))), 0)
            store(out, i * 64 + 16 * s, dequantize(load(block, _FIELDS.qs + 8 * s, 8)) * scale)


CODEC = RoundingCodec("NVFP4", _encode, _decode)
