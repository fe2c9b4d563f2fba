"""8-bit floats with ``NAME_scale`` beside them and nothing else: FBGEMM's rows, MXFP8's blocks of 32."""

from __future__ import annotations

from qconv.checkpoints.methods import compressed_tensors
from qconv.checkpoints.methods.parts import Config, Tensors


def undo(tensors: Tensors, config: Config) -> Tensors:
    """What compressed-tensors would make of them: shapes tell what a scale belongs to."""
    return compressed_tensors.undo(tensors, {})
