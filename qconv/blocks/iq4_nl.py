"""IQ4_NL: blocks of 32 weights, a scale and 4-bit quants, which stand for 16 unevenly spaced values."""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from qconv.blocks.compile import kernel
from qconv.blocks.groups import INDEX, GroupCodec, find_sub_blocks
from qconv.blocks.lanes import LANES, at, f32, scratch, select, store, to_half, u8, u16
from qconv.blocks.layout import offsets
from qconv.blocks.nonlinear import dequantize, pack, search, weigh_by_square
from qconv.blocks.tiles import finite, gather, put_uint16, scatter_bytes, sum_of_squares, weigh
from qconv.blocks.unpack import half

_FIELDS = offsets("IQ4_NL")
_TILE = 32 * LANES
_HALF_TILE = 16 * LANES


@kernel("IQ4_NL")
def _encode(rows, importance, first, out):
    starts, halves = scratch(LANES, INDEX), scratch(LANES, u16)
    x, w, packed = scratch(_TILE, f32), scratch(_TILE, f32), scratch(_HALF_TILE, u8)
    for start in range(0, rows.size, _TILE):
        find_sub_blocks(starts, start, rows.size, 1, 32)
        gather(rows, starts, 32, x)
        if importance is None:
            weigh_by_square(x, w)
        else:
            find_sub_blocks(starts, first + start, importance.size, 1, 32)
            gather(importance, starts, 32, w)
            weigh(x, w, 32, sum_of_squares(x, 32) * (2 / 32))
        scale, largest = search(x, w)
        if not finite(largest):
            return False
        pack(x, select(scale != 0.0, 1.0 / scale, 0.0), packed)
        begin = start // 32 * _FIELDS.end
        scatter_bytes(packed, out, begin + _FIELDS.qs, _FIELDS.end)
        store(halves, 0, to_half(scale))
        for k in range(LANES):
            put_uint16(out, begin + k * _FIELDS.end + _FIELDS.d, halves[k])
    return True


@kernel("IQ4_NL")
def _decode(blocks, out):
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        store(out, i * 32, dequantize(block, _FIELDS.qs) * half(block, _FIELDS.d))


CODEC = GroupCodec("IQ4_NL", _TILE, _encode, _encode, _decode)
