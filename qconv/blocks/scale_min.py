"""The codec of Q4_K and Q5_K: how their kernels are made and when each is called."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.codec import Decoder, EncodeContext, flat
from qconv.blocks.compile import kernel
from qconv.blocks.layout import offsets
from qconv.blocks.subblocks32 import decode_blocks, encode_blocks, search_important, search_reference
from qconv.blocks.thorough import search_thorough
from qconv.types import SEARCHES


class ScaleMinCodec(Decoder):
    """4-bit quants, or with fifth bits 5-bit ones: ``x = d * scale * q - dmin * min``.

    ``rmin``, ``rdelta``, ``nstep``: the inverse scales that ggml tries without importance.  ``kept``: the mask of the
    bits that it keeps of a rounded scale with importance.
    """

    searches = SEARCHES

    def __init__(self, block_type: str, rmin: float, rdelta: float, nstep: int, kept: int) -> None:
        fields = offsets(block_type, "d", "dmin", "scales", "qh", "qs")
        top = 15 if fields.qh is None else 31

        @kernel(block_type)
        def encode(x, out, needs_exact, retry):
            settings = (rmin, rdelta, nstep)
            return encode_blocks(x, None, out, needs_exact, retry, top, fields, fields.qh, search_reference, settings)

        @kernel(block_type)
        def encode_thorough(x, out, needs_exact, retry):
            settings = (rmin, rdelta, nstep)
            return encode_blocks(x, None, out, needs_exact, retry, top, fields, fields.qh, search_thorough, settings)

        @kernel(block_type)
        def encode_important(x, importance, out):
            return encode_blocks(x, importance, out, None, None, top, fields, fields.qh, search_important, kept)

        @kernel(block_type)
        def decode(blocks, out):
            decode_blocks(blocks, out, fields, fields.qh)

        super().__init__(block_type, decode)
        self._encode, self._encode_thorough, self._encode_important = encode, encode_thorough, encode_important

    def encode(self, rows: NDArray[Any], context: EncodeContext, out: NDArray[np.uint8]) -> bool:
        x, blocks = flat(rows), out.reshape(-1)
        if context.importance is not None:
            return bool(self._encode_important(x, context.importance, blocks))
        encode = self._encode_thorough if context.search == "thorough" else self._encode
        needs_exact = np.zeros(rows.size // 256, np.uint8)
        if not encode(x, blocks, needs_exact, None):
            return False
        # only unusual weights bring this about, so that their variant of the kernel is compiled when it is needed
        retry = np.flatnonzero(needs_exact)
        return not retry.size or bool(self._encode(x, blocks, needs_exact, retry))
