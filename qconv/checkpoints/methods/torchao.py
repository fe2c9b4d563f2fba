"""torchao, whose tensors are ``MODULE._weight_qdata``, ``MODULE._weight_scale`` and more, by their types and shapes.

8-bit floats and integers, one a weight (``Float8Tensor``, ``Int8Tensor``, ``IntxUnpackedToInt8Tensor``); and 4 bits
(``Int4Tensor``): -8 to 7, the even column in a byte's lower half, scales and zero points ``(groups, outputs)``,
``number * scale + zero point``.  Other classes are laid out for one kernel.

Source: torchao, ``prototype/safetensors/`` and ``quantization/quantize_/workflows/``; of ``Int4Tensor`` MSLK,
``quantize/shuffle.py``.
"""

from __future__ import annotations

from qconv.checkpoints.methods.numbers import block_of, times_inputs
from qconv.checkpoints.methods.parts import Config, Tensors, is_fp8, replaced, stems
from qconv.errors import FormatError, UnsupportedError
from qconv.tensors import FLOATS, LazyTensor, scaled, transpose
from qconv.tensors.quantized import Codes, affine
from qconv.types import shape_text

_DATA, _SCALE, _ZERO, _PRE_SCALE = "_qdata", "_scale", "_zero_point", "_act_pre_scale"
_UNUSED = ("_act_quant_scale", "_act_quant_zero_point", "_act_per_tensor_scale")


def undo(tensors: Tensors, config: Config) -> Tensors:
    """Raises ``UnsupportedError`` for layouts of one kernel, ``FormatError`` for parts that do not fit together."""
    made: dict[str, LazyTensor] = {}
    parts: set[str] = set()
    for stem in stems(tensors, _DATA):
        module, dot, name = stem.rpartition("._")
        if not dot:
            continue
        weight = _weight(tensors, stem)
        if (factors := tensors.get(stem + _PRE_SCALE)) is not None:
            weight = times_inputs(weight, factors)
        made[f"{module}.{name}"] = weight
        parts |= {stem + end for end in (_DATA, _SCALE, _ZERO, _PRE_SCALE, *_UNUSED)}
    return replaced(tensors, made, parts)


def _weight(tensors: Tensors, stem: str) -> LazyTensor:
    data, scale, zero = (tensors.get(stem + end) for end in (_DATA, _SCALE, _ZERO))
    assert data is not None
    if scale is None:
        raise _unknown(data)
    if is_fp8(data) and zero is None:
        return scaled(data, scale, block_of(data, scale))
    if data.dtype != "I8" or not data.shape or scale.dtype not in FLOATS:
        raise _unknown(data)
    if zero is not None and zero.dtype in FLOATS:
        if len(scale.shape) != len(data.shape) or scale.shape[-1] != data.shape[-2]:
            message = f"is {shape_text(scale.shape)}, which does not fit pairs of integers {shape_text(data.shape)}"
            raise FormatError(message, tensor=scale.sources[0])
        return affine(Codes(data, 4, 2 * data.shape[-1], plus=8), transpose(scale), zero=8, offset=transpose(zero))
    return affine(data, scale, zero=0 if zero is None else zero)


def _unknown(data: LazyTensor) -> UnsupportedError:
    what = f"is quantized by torchao for one kernel: {data.dtype} {shape_text(data.shape)}"
    return UnsupportedError(what, tensor=data.sources[0])
