"""NVIDIA ModelOpt: 8-bit floats of any scales, NVFP4, whose second scale is one number for the tensor, and integers.

Of integers of 4 bits, -8 to 7, a byte holds two outputs of one input, the even one in its lower half.
``NAME.pre_quant_scale`` multiplies the activations.

Source: Model-Optimizer, ``modelopt/torch/export/quant_utils.py`` and ``quantization/qtensor/``.
"""

from __future__ import annotations

from qconv.checkpoints.methods.numbers import scaled_numbers, times_inputs
from qconv.checkpoints.methods.parts import BARE, Config, Tensors, is_fp8, replaced, scaled_names, stems
from qconv.errors import FormatError, UnsupportedError
from qconv.tensors import FLOATS, LazyTensor, scaled
from qconv.tensors.quantized import VerticalCodes, affine, fp4_weight

_UNUSED = (".input_scale", ".k_scale", ".v_scale", ".kv_scale", ".q_scale", ".output_scale")
_PRE_QUANT = ".pre_quant_scale"
_LOW_RANK = (".svdquant_lora_a", ".svdquant_lora_b")


def undo(tensors: Tensors, config: Config) -> Tensors:
    """Raises ``UnsupportedError`` for weights with a low-rank part, ``FormatError`` for parts that do not fit."""
    low_rank = next((name for name in tensors if name.endswith(_LOW_RANK)), None)
    if low_rank is not None:
        raise UnsupportedError("is quantized by 'modelopt' with a low-rank part (SVDQuant)", tensor=low_rank)
    made: dict[str, LazyTensor] = {}
    parts: set[str] = {name for name in tensors if name.endswith((*_UNUSED, _PRE_QUANT))}
    for name in scaled_names(tensors, frozenset(parts)):
        parts |= {name + "_scale", name + "_scale_2"}
        made[name] = _weight(tensors, name)
    for module in stems(tensors, _PRE_QUANT):
        factors, weight = tensors[module + _PRE_QUANT], made.get(f"{module}.weight")
        if weight is None:
            raise FormatError(f"is a scale, but no '{module}.weight' is quantized", tensor=module + _PRE_QUANT)
        made[f"{module}.weight"] = times_inputs(weight, factors)
    bare = next((n for n, t in tensors.items() if is_fp8(t) and n not in made and n not in parts), None)
    if bare is not None:
        message = f"is {tensors[bare].dtype} without its scale: there is no '{bare}_scale'"
        raise FormatError(message, tensor=bare, hint=BARE)
    return replaced(tensors, made, parts)


def _weight(tensors: Tensors, name: str) -> LazyTensor:
    weight, scale, second = tensors[name], tensors[name + "_scale"], tensors.get(name + "_scale_2")
    if weight.dtype != "U8":
        return scaled_numbers(tensors, name, ())
    of_pairs = len(weight.shape) > 1 and scale.shape[-2:-1] == (2 * weight.shape[-2],)
    if not of_pairs or scale.dtype not in FLOATS:
        return fp4_weight(weight, scale if second is None else scaled(scale, second, None))
    if second is not None:
        raise UnsupportedError("is quantized by 'modelopt' to integers of 4 bits and again to 8", tensor=name)
    return affine(VerticalCodes(weight, 4, 2 * weight.shape[-2], plus=8), scale, zero=8)
