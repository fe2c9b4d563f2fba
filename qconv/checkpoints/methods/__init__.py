"""How each way of being quantized is undone: one module for each, ``undo(tensors, config) -> tensors``.

``tensors``: a checkpoint's, by name.  ``config``: what its config says about quantization, ``{}`` when that is lost.
The result holds the tensors that the quantized ones stand for, under the names the plain checkpoint has.
"""

from __future__ import annotations

from collections.abc import Callable

from qconv.checkpoints.methods import (
    awq,
    bitnet,
    bitsandbytes,
    compressed_tensors,
    fp8,
    gemma,
    gptq,
    hqq,
    mlx,
    modelopt,
    mxfp4,
    plain_scales,
)
from qconv.checkpoints.methods.parts import Config, Tensors

__all__ = ["METHODS", "Config", "Tensors"]

METHODS: dict[str, Callable[[Tensors, Config], Tensors]] = {
    "fp8": fp8.undo,
    "compressed-tensors": compressed_tensors.undo,
    "bitsandbytes": bitsandbytes.undo,
    "gptq": gptq.undo,
    "awq": awq.undo,
    "mlx": mlx.undo,
    "modelopt": modelopt.undo,
    "fbgemm_fp8": plain_scales.undo,
    "mxfp8": plain_scales.undo,
    "mxfp4": mxfp4.undo,
    "bitnet": bitnet.undo,
    "hqq": hqq.undo,
    "gemma": gemma.undo,
}
"""By their names in ``formats/quantizations.toml``."""
