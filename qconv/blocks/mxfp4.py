"""MXFP4: blocks of 32 weights, a power of two and 4-bit floats (OCP microscaling formats 1.0); decoded only."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from qconv.blocks.codec import Decoder
from qconv.blocks.compile import kernel
from qconv.blocks.lanes import at, floats, join, lane, load, select, store, to_float, widen
from qconv.blocks.layout import offsets
from qconv.blocks.unpack import pick

_FIELDS = offsets("MXFP4")
_TWICE = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
"""Twice the values of e2m1, so that they are integers."""
_TABLE = tuple(value + 12 for value in _TWICE)


@kernel("MXFP4")
def _decode(blocks, out):
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        e = widen(load(block, _FIELDS.e, 1))
        # 2**(e - 128), which is subnormal for 0 and 1
        scale = lane(floats(select(e < 2, 0x200000 << e, (e - 1) << 23)), 0)
        q = load(block, _FIELDS.qs, 16)
        store(out, i * 32, to_float(widen(pick(join(q & 15, q >> 4), _TABLE)) - 12) * scale)


CODEC = Decoder("MXFP4", _decode)
