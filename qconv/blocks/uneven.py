"""The search IQ4_NL and IQ4_XS share: a scale for 32 weights on a grid of 16 uneven values.

The sums follow ``quantize_row_iq4_nl_impl`` of ggml-quants.c, in its order.
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

from itertools import pairwise

from qconv.blocks.lanes import LANES, any_lane, bits, floats, inline, load, root, select, size, splat, store
from qconv.blocks.tiles import INFINITY, LEAST

WEIGHTS = 32
VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
_HALFWAY = tuple((low + high) / 2 for low, high in pairwise(VALUES))
_STEPS = 7


@inline
def pick(q, table):
    """``table[q]`` for lanes of 4-bit bytes; ``table``: 16 bytes."""
    one, two, four, eight = (q & 1) != 0, (q & 2) != 0, (q & 4) != 0, (q & 8) != 0
    zero = q & 0
    a = select(two, select(one, table[3], zero + table[2]), select(one, table[1], zero + table[0]))
    b = select(two, select(one, table[7], zero + table[6]), select(one, table[5], zero + table[4]))
    c = select(two, select(one, table[11], zero + table[10]), select(one, table[9], zero + table[8]))
    d = select(two, select(one, table[15], zero + table[14]), select(one, table[13], zero + table[12]))
    return select(eight, select(four, d, c), select(four, b, a))


@inline
def _nearest_value(x):
    """The value nearest to ``x``, the greater of two; the greatest for NaN, as the reference's bisection ends."""
    value = splat(VALUES[0], LANES)
    for k in range(15):
        value = select(x < _HALFWAY[k], value, VALUES[k + 1])
    return value


@inline
def nearest_index(x):
    """The index of the value nearest to ``x``, int32 lanes."""
    index = bits(splat(0.0, LANES))
    for k in range(15):
        index = select(x < _HALFWAY[k], index, k + 1)
    return index


@inline
def weigh(x, weights, squares):
    """``weights``: importance, to be multiplied by how large a weight is among those ``squares``, twice the mean of
    squares, stands for."""
    for i in range(WEIGHTS):
        v = load(x, i * LANES, LANES)
        store(weights, i * LANES, load(weights, i * LANES, LANES) * root(squares + v * v))


@inline
def weigh_by_square(x, weights):
    for i in range(WEIGHTS):
        v = load(x, i * LANES, LANES)
        store(weights, i * LANES, v * v)


@inline
def _sums(x, weights, inverse):
    """Weighted products of the weights with their nearest values, and squares of those values."""
    products, squares = splat(0.0, LANES), splat(0.0, LANES)
    for i in range(WEIGHTS):
        v = load(x, i * LANES, LANES)
        q = _nearest_value(inverse * v)
        weighted = load(weights, i * LANES, LANES) * q
        products = products + weighted * v
        squares = squares + weighted * q
    return products, squares


@inline
def search(x, weights):
    """The scale of each lane's weights, and the bits of the largest weight's size: infinity's or more if not finite."""
    largest, extreme = bits(splat(0.0, LANES)), splat(0.0, LANES)
    for i in range(WEIGHTS):
        v = load(x, i * LANES, LANES)
        magnitude = bits(size(v))  # ordered like the floats they are, NaN above all
        larger = magnitude > largest
        largest, extreme = select(larger, magnitude, largest), select(larger, v, extreme)
    products, squares = _sums(x, weights, 1.0 / (-extreme / VALUES[0]))
    scale = select(squares > 0.0, products / squares, 0.0)
    best = scale * products
    for step in range(-_STEPS, _STEPS + 1):
        products, squares = _sums(x, weights, splat(step + VALUES[0], LANES) / extreme)
        better = (squares > 0.0) & (products * products > best * squares)
        scale = select(better, products / squares, scale)
        best = select(better, scale * products, best)
    return select(floats(largest) < LEAST, 0.0, scale), largest


@inline
def finite(largest):
    """Whether no lane's ``largest`` is infinite or NaN."""
    return not any_lane(largest >= INFINITY)
