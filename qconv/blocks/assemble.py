"""Blocks put together from numbers that are known already: what a quantized checkpoint holds, in ggml's layout."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.layout import fields
from qconv.formats import block_types

LOWEST = {"Q4_0": -8, "Q5_0": -16, "Q8_0": -128, "Q4_1": 0, "Q5_1": 0}
"""The least quant of each type that can be put together, as multiples of its scale."""
HIGHEST = {"Q4_0": 7, "Q5_0": 15, "Q8_0": 127, "Q4_1": 15, "Q5_1": 31}


def assemble(
    block_type: str, quants: NDArray[np.int16], d: NDArray[np.float16], m: NDArray[np.float16] | None = None
) -> NDArray[np.uint8]:
    """Rows of blocks, uint8 ``(rows, bytes)``.

    ``quants``: ``(rows, columns)`` multiples of the scale, from ``LOWEST`` to ``HIGHEST``.  ``d``: the scale of each
    block, ``(rows, blocks)``; ``m``: the offsets of types that have them.
    """
    layout = block_types()[block_type]
    places = fields(layout)
    rows, count = len(quants), quants.shape[1] // layout.weights
    cells = np.zeros((rows, count, layout.bytes), np.uint8)

    def put(name: str, values: NDArray[np.uint8]) -> None:
        field = places[name]
        cells[:, :, field.offset : field.offset + field.size] = values

    put("d", np.ascontiguousarray(d, "<f2").view(np.uint8).reshape(rows, count, 2))
    if m is not None:
        put("m", np.ascontiguousarray(m, "<f2").view(np.uint8).reshape(rows, count, 2))
    if block_type == "Q8_0":
        put("qs", quants.astype(np.int8).view(np.uint8).reshape(rows, count, layout.weights))
        return cells.reshape(rows, -1)
    codes = (quants - np.int16(LOWEST[block_type])).astype(np.uint8).reshape(rows, count, layout.weights)
    half = layout.weights // 2
    put("qs", np.bitwise_or(codes[:, :, :half] & 15, codes[:, :, half:] << 4, dtype=np.uint8))
    if "qh" in places:
        put("qh", np.packbits((codes >> 4).astype(np.uint8), axis=-1, bitorder="little"))
    return cells.reshape(rows, -1)
