"""NVIDIA ModelOpt's 8-bit floats: one scale a tensor or channel.  Its 4-bit floats are refused."""

from __future__ import annotations

from qconv.checkpoints.methods.parts import Config, Tensors, scale
from qconv.errors import UnsupportedError

_UNUSED = (".input_scale", ".k_scale", ".v_scale")


def undo(tensors: Tensors, config: Config) -> Tensors:
    if any(name.endswith((".weight_scale_2", ".weight_quantizer._scale")) for name in tensors):
        raise UnsupportedError(f"is quantized by 'modelopt' to {config.get('quant_algo', 'NVFP4')}")
    return scale(tensors, {".weight_scale": ".weight"}, lambda weight, scales: None, _UNUSED)
