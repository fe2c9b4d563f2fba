"""What IQ4_NL and IQ4_XS share: 4-bit quants that stand for 16 unevenly spaced values, and the search for their scale.

The sums are those of ``quantize_row_iq4_nl_impl``, in its order.
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from itertools import pairwise

from qconv.blocks.lanes import LANES, bits, floats, inline, join, load, narrow, select, splat, store, to_float, widen
from qconv.blocks.tiles import EPSILON, extreme
from qconv.blocks.unpack import pick

VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
_HALFWAY = tuple((low + high) / 2 for low, high in pairwise(VALUES))
_TABLE = tuple(value + 128 for value in VALUES)
_STEPS = 7


@inline
def dequantize(block, at):
    """The values of 32 quants in the 16 bytes from ``at`` on."""
    both = load(block, at, 16)
    return to_float(widen(pick(join(both & 15, both >> 4), _TABLE)) - 128)


@inline
def pack(x, inverse, packed):
    """Quants of a tile by their nearest values, in a tile of 16 steps of bytes."""
    for i in range(16):
        low = _nearest_quant(inverse * load(x, i * LANES, LANES))
        high = _nearest_quant(inverse * load(x, (i + 16) * LANES, LANES))
        store(packed, i * LANES, narrow(low | high << 4))


@inline
def _nearest_quant(x):
    """The quant whose value is nearest to ``x``, int32 lanes."""
    q = bits(splat(0.0, LANES))
    for k in range(15):
        q = select(x < _HALFWAY[k], q, k + 1)
    return q


@inline
def _nearest_value(x):
    """The value nearest to ``x``, the greater of two; the greatest for NaN, as ggml's bisection ends."""
    value = splat(VALUES[0], LANES)
    for k in range(15):
        value = select(x < _HALFWAY[k], value, VALUES[k + 1])
    return value


@inline
def weigh_by_square(x, w):
    """Fills ``w`` with the error weights without importance."""
    for i in range(32):
        v = load(x, i * LANES, LANES)
        store(w, i * LANES, v * v)


@inline
def _sums(x, w, inverse):
    """Weighted products of the weights with their nearest values, and squares of those values."""
    products, squares = splat(0.0, LANES), splat(0.0, LANES)
    for i in range(32):
        v = load(x, i * LANES, LANES)
        value = _nearest_value(inverse * v)
        weighted = load(w, i * LANES, LANES) * value
        products = products + weighted * v
        squares = squares + weighted * value
    return products, squares


@inline
def search(x, w):
    """The scale of each lane's weights, and the bits of their largest magnitude.

    ``w``: error weights.
    """
    largest, value = extreme(x, 32)
    products, squares = _sums(x, w, 1.0 / (-value / VALUES[0]))
    scale = select(squares > 0.0, products / squares, 0.0)
    best = scale * products
    for step in range(-_STEPS, _STEPS + 1):
        products, squares = _sums(x, w, splat(step + VALUES[0], LANES) / value)
        better = (squares > 0.0) & (products * products > best * squares)
        scale = select(better, products / squares, scale)
        best = select(better, scale * products, best)
    return select(floats(largest) < EPSILON, 0.0, scale), largest
