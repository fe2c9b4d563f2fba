"""Encoding of the plain types F32, F16 and BF16: one number a weight, no block to search for."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False, check-untyped-defs=False

from __future__ import annotations

from qconv.blocks.lanes import LANES, any_lane, as_float, bits, inline, load, most, size, splat, store
from qconv.blocks.tiles import INFINITY


@inline
def encode_plain(rows, out, rounded):
    """Fill ``out`` with ``rounded(lanes)`` of 1-D ``rows``; False when a weight is NaN or infinite."""
    whole = rows.size - rows.size % LANES
    largest, last = bits(splat(0.0, LANES)), bits(splat(0.0, 1))
    for i in range(0, whole, LANES):
        v = as_float(load(rows, i, LANES))
        store(out, i, rounded(v))
        largest = most(bits(size(v)), largest)
    for i in range(whole, rows.size):
        v = as_float(load(rows, i, 1))
        store(out, i, rounded(v))
        last = most(bits(size(v)), last)
    return not any_lane(largest >= INFINITY) and not any_lane(last >= INFINITY)


@inline
def decode_plain(numbers, out):
    """Fill ``out`` with 1-D ``numbers``, bfloat16 bits (uint16) or binary16 bits (int16), as float32."""
    whole = numbers.size - numbers.size % LANES
    for i in range(0, whole, LANES):
        store(out, i, as_float(load(numbers, i, LANES)))
    for i in range(whole, numbers.size):
        store(out, i, as_float(load(numbers, i, 1)))
