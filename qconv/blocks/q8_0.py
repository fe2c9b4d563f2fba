"""Q8_0: blocks of 32 weights, a scale and 8 bits a weight: ``x = d * q``."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import numpy as np

from qconv.blocks import lanes
from qconv.blocks.compile import kernel
from qconv.blocks.groups import GroupCodec
from qconv.blocks.lanes import (
    as_float,
    at,
    f32,
    floats,
    inline,
    load,
    narrow,
    scratch,
    select,
    store,
    to_float,
    to_half,
    u16,
)
from qconv.blocks.layout import offsets
from qconv.blocks.round_to_nearest import FACTORS, GROUP, encode_blocks
from qconv.blocks.tiles import finite, put_uint16, round_half_away
from qconv.blocks.unpack import half, signed

_FIELDS = offsets("Q8_0")


@kernel("Q8_0")
def _encode(rows, importance, first, out):
    factors = scratch(FACTORS, f32), scratch(FACTORS, u16)
    return encode_blocks(rows, out, 127, _FIELDS.end, _fit, _write, factors)


@inline
def _fit(x, start, greatest, unsigned, top, slot, factors):
    inverses, halves = factors
    largest = lanes.max(greatest, unsigned & 0x7FFFFFFF)
    if not finite(largest):
        return False
    scale = floats(largest) / np.float32(top)
    inverse = 1.0 / scale
    # where the scale is too small to invert, ggml's quants are those of infinity, which come out as 0
    store(inverses, slot, select(inverse < np.inf, inverse, 0.0))
    store(halves, slot, to_half(scale))
    return True


@inline
def _write(x, start, out, begin, top, slot, factors):
    inverses, halves = factors
    block = at(out, begin)
    put_uint16(block, _FIELDS.d, halves[slot])
    store(block, _FIELDS.qs, narrow(round_half_away(as_float(load(x, start, 32)) * inverses[slot])))


@kernel("Q8_0")
def _decode(blocks, out):
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        store(out, i * 32, to_float(signed(load(block, _FIELDS.qs, 32))) * half(block, _FIELDS.d))


CODEC = GroupCodec("Q8_0", GROUP, _encode, None, _decode)
