"""NVIDIA ModelOpt: 8-bit floats of any scales, and NVFP4, whose second scale is one number for the tensor.

Source: Model-Optimizer, ``modelopt/torch/export/quant_utils.py`` and ``quantization/qtensor/``.
"""

from __future__ import annotations

from qconv.checkpoints.methods.numbers import scaled_numbers
from qconv.checkpoints.methods.parts import BARE, Config, Tensors, is_fp8, replaced, stems
from qconv.errors import FormatError, UnsupportedError
from qconv.tensors import LazyTensor, scaled
from qconv.tensors.quantized import fp4_weight

_UNUSED = (".input_scale", ".k_scale", ".v_scale", ".q_scale", ".output_scale")
_INTEGERS = ("INT4_AWQ", "W4A8_AWQ")


def undo(tensors: Tensors, config: Config) -> Tensors:
    """Raises ``UnsupportedError`` for integers of 4 bits, ``FormatError`` for parts that do not fit together."""
    algorithm = config.get("quant_algo")
    if algorithm in _INTEGERS or any(name.endswith((".pre_quant_scale", "_quantizer._scale")) for name in tensors):
        raise UnsupportedError(f"is quantized by 'modelopt' to {algorithm or 'integers of 4 bits'}")
    made: dict[str, LazyTensor] = {}
    parts: set[str] = {name for name in tensors if name.endswith(_UNUSED)}
    for name in stems(tensors, "_scale"):
        if name + "_scale" in parts:
            continue
        if name not in tensors:
            raise FormatError(f"is a scale, but there is no '{name}'", tensor=name + "_scale")
        parts |= {name + "_scale", name + "_scale_2"}
        if tensors[name].dtype == "U8":
            made[name] = _fp4(tensors, name)
        else:
            made[name] = scaled_numbers(tensors, name, ())
    bare = next((n for n, t in tensors.items() if is_fp8(t) and n not in made and n not in parts), None)
    if bare is not None:
        message = f"is {tensors[bare].dtype} without its scale: there is no '{bare}_scale'"
        raise FormatError(message, tensor=bare, hint=BARE)
    return replaced(tensors, made, parts)


def _fp4(tensors: Tensors, name: str) -> LazyTensor:
    scale, second = tensors[name + "_scale"], tensors.get(name + "_scale_2")
    return fp4_weight(tensors[name], scale if second is None else scaled(scale, second, None))
