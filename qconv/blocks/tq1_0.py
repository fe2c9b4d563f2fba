"""TQ1_0: super-blocks of 256 weights, a scale and ternary quants, five in a byte: ``x = d * (q - 1)``.

A byte holds five ternary digits as the fraction ``0.q0q1q2q3q4`` in base 3, scaled to 256 and rounded up; multiplied by
3 it gives the first as what overflows, and so on.  32 bytes hold the first 160 weights, 16 bytes the next 80, each
digit a run of as many; the last 4 bytes hold four digits each.
"""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from qconv.blocks.codec import RoundingCodec
from qconv.blocks.compile import kernel
from qconv.blocks.lanes import at, inline, load, narrow, store, to_float, to_int, widen
from qconv.blocks.layout import offsets
from qconv.blocks.ternary import dequantize, fit, quantize
from qconv.blocks.tiles import finite, put_uint16
from qconv.blocks.unpack import half

_FIELDS = offsets("TQ1_0")


@kernel("TQ1_0")
def _encode(rows, out):
    for i in range(rows.size // 256):
        x, block = at(rows, i * 256), at(out, i * _FIELDS.end)
        largest, d, inverse = fit(x)
        if not finite(largest):
            return False
        store(block, _FIELDS.qs, _byte(_digits(x, 0, 32, 5, inverse)))
        store(block, _FIELDS.qs + 32, _byte(_digits(x, 160, 16, 5, inverse)))
        store(block, _FIELDS.qh, _byte(_digits(x, 240, 4, 4, inverse) * 3))
        put_uint16(block, _FIELDS.d, d)
    return True


@inline
def _digits(x, start, n, count, inverse):
    """Numbers of ``count`` ternary digits, from runs of ``n`` weights."""
    number = quantize(x, start, n, inverse)
    for k in range(1, count):
        number = number * 3 + quantize(x, start + k * n, n, inverse)
    return number


@inline
def _byte(number):
    """Numbers below 243 as bytes: times 256 / 243, rounded up."""
    return narrow(to_int(to_float(number * 256 + 242) / 243.0))


@kernel("TQ1_0")
def _decode(blocks, out):
    for i in range(blocks.size // _FIELDS.end):
        block = at(blocks, i * _FIELDS.end)
        d = half(block, _FIELDS.d)
        _write(out, i * 256, 32, 5, widen(load(block, _FIELDS.qs, 32)), d)
        _write(out, i * 256 + 160, 16, 5, widen(load(block, _FIELDS.qs + 32, 16)), d)
        _write(out, i * 256 + 240, 4, 4, widen(load(block, _FIELDS.qh, 4)), d)


@inline
def _write(out, start, n, count, fraction, d):
    """The first ``count`` digits of ``n`` bytes as weights, each digit a run of ``n``."""
    for k in range(count):
        fraction = fraction * 3
        store(out, start + k * n, dequantize(fraction >> 8, d))
        fraction = fraction & 0xFF


CODEC = RoundingCodec("TQ1_0", _encode, _decode)
