"""Q4_K: super-blocks of 8 sub-blocks of 32 weights, 6-bit scales and mins and 4-bit quants."""

from __future__ import annotations

from qconv.blocks.scale_min import ScaleMinCodec

CODEC = ScaleMinCodec("Q4_K", rmin=-1.0, rdelta=0.1, nstep=20, kept=255)
