"""Q5_1: blocks of 32 weights, a scale, a minimum and 5-bit quants, ``x = d * q + m``."""

from __future__ import annotations

from qconv.blocks.asymmetric import AsymmetricCodec

CODEC = AsymmetricCodec("Q5_1")
