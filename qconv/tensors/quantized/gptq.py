"""GPTQ's packing: integers packed down the inputs, with a scale and a zero point for each group of inputs.

``qweight``, I32 ``(inputs * bits / 32, outputs)``: a column is the dense stream of one output's codes.  ``qzeros``, I32
``(groups, outputs * bits / 32)``: zero points along the outputs.  ``scales``, ``(groups, outputs)``.  ``g_idx``,
``(inputs,)``: the group of each input; without it groups are runs.  Version 1 stores zero points less one, modulo
``2 ** bits``, version 2 as they are.  GPTQModel's "gptq_p" packs in planes (see ``codes``), both ways.

All is the transpose of a weight.  A range of the weight's rows is a strip of columns of each part, which is read by
itself: words are turned before they are unpacked.

Source: GPTQModel, ``nn_modules/qlinear/__init__.py``; AutoGPTQ, ``nn_modules/qlinear/qlinear_cuda_old.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from qconv.errors import FormatError
from qconv.tensors.base import LazyTensor
from qconv.tensors.quantized.affine import Affine, affine
from qconv.tensors.quantized.codes import Codes, Packing, words
from qconv.tensors.shapes import transpose
from qconv.types import shape_text

_WIDTHS = (4, 8, 3, 2, 5, 6, 7)


def gptq(
    weight: LazyTensor,
    zeros: LazyTensor,
    scale: LazyTensor,
    order: LazyTensor | None,
    *,
    plus: int,
    width: int | None = None,
    groups: Sequence[int] = (),
    packing: Packing = "dense",
) -> Affine:
    """The weight, ``(outputs, inputs)``.

    ``plus``: 1 for version 1, else 0.  ``width``: the config's bits; the shapes' count.  ``groups``: the config's group
    sizes, which count where inputs are not a multiple of the number of groups.

    Raises ``FormatError`` when the parts do not fit together.
    """
    for part in (weight, zeros):
        if part.dtype != "I32" or len(part.shape) != 2:
            raise FormatError(f"is {part.dtype} {shape_text(part.shape)}, not a matrix of I32", tensor=part.sources[0])
    if len(scale.shape) != 2 or scale.shape[1] != weight.shape[1]:
        message = f"is {shape_text(scale.shape)}, but there are {weight.shape[1]} outputs"
        raise FormatError(message, tensor=scale.sources[0])
    count, outputs = scale.shape
    bits = next((b for b in (width, *_WIDTHS) if b in _WIDTHS and zeros.shape == (count, words(outputs, b))), None)
    if bits is None:
        message = f"is {shape_text(zeros.shape)}, which does not fit {count} groups of {outputs} outputs"
        raise FormatError(message, tensor=zeros.sources[0])
    inputs = weight.shape[0] * 32 // bits
    if order is not None and len(order.shape) == 1 and words(order.shape[0], bits) == weight.shape[0]:
        inputs = order.shape[0]
    group = next((g for g in groups if g > 0 and -(-inputs // g) == count), None)
    return affine(
        Codes(transpose(weight), bits, inputs, packing),
        transpose(scale),
        zero=transpose(Codes(zeros, bits, outputs, packing, plus)),
        group=group or max(1, -(-inputs // max(1, count))),
        order=order,
    )
