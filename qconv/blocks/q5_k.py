"""Q5_K: super-blocks of 8 sub-blocks of 32 weights, 6-bit scales and mins and 5-bit quants."""

from __future__ import annotations

from qconv.blocks.scale_min import ScaleMinCodec

CODEC = ScaleMinCodec("Q5_K", rmin=-0.5, rdelta=0.1, nstep=15, kept=63)
