"""Q4_0: blocks of 32 weights, a scale and 4-bit quants, ``x = d * (q - 8)``."""

from __future__ import annotations

from qconv.blocks.symmetric import SymmetricCodec

CODEC = SymmetricCodec("Q4_0")
