"""Q5_0: blocks of 32 weights, a scale and 5-bit quants, ``x = d * (q - 16)``."""

from __future__ import annotations

from qconv.blocks.symmetric import SymmetricCodec

CODEC = SymmetricCodec("Q5_0")
