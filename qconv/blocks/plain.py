"""The plain types F32, F16 and BF16: one number a weight, no block to search for."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks import lanes
from qconv.blocks.codec import EncodeContext, flat
from qconv.blocks.compile import kernel
from qconv.blocks.lanes import LANES, as_float, bits, inline, load, splat, store
from qconv.blocks.tiles import finite
from qconv.formats import block_types
from qconv.types import SEARCHES


class PlainCodec:
    """Weights as ``rounded(lanes)``, stored as ``dtype``: float32, float16 or uint16 (bfloat16 bits)."""

    searches = SEARCHES[:1]

    def __init__(self, block_type: str, dtype: type[np.generic], rounded: Any) -> None:
        self.layout = block_types()[block_type]
        self._dtype = dtype

        @kernel(block_type)
        def encode(rows, out):
            return _encode(rows, out, rounded)

        @kernel(block_type)
        def decode(numbers, out):
            _decode(numbers, out)

        self._encode, self._decode = encode, decode

    def encode(self, rows: NDArray[Any], context: EncodeContext, out: NDArray[np.uint8]) -> bool:
        stored = out.view(np.float32 if self._dtype is np.float32 else np.uint16)
        return bool(self._encode(flat(rows), stored.reshape(-1)))

    def decode(self, blocks: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        self._decode(flat(blocks.view(self._dtype)), out.reshape(-1))


@inline
def _encode(rows, out, rounded):
    """Fills ``out`` with ``rounded(lanes)`` of 1-D ``rows``; False when a weight is NaN or infinite."""
    whole = rows.size - rows.size % LANES
    largest, last = bits(splat(0.0, LANES)), bits(splat(0.0, 1))
    for i in range(0, whole, LANES):
        v = as_float(load(rows, i, LANES))
        store(out, i, rounded(v))
        largest = lanes.max(bits(lanes.abs(v)), largest)
    for i in range(whole, rows.size):
        v = as_float(load(rows, i, 1))
        store(out, i, rounded(v))
        last = lanes.max(bits(lanes.abs(v)), last)
    return finite(largest) and finite(last)


@inline
def _decode(numbers, out):
    whole = numbers.size - numbers.size % LANES
    for i in range(0, whole, LANES):
        store(out, i, as_float(load(numbers, i, LANES)))
    for i in range(whole, numbers.size):
        store(out, i, as_float(load(numbers, i, 1)))
