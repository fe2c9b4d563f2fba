"""BitNet's packed ternary weights: ``X.weight``, U8 ``(rows / 4, columns)``, and one number, ``X.weight_scale``.

Falcon's ("bitlinear") divide by that number, Microsoft's ("autobitlinear") multiply.  llama.cpp's converter divides in
both cases, and scales Microsoft's anew by their mean, which gives another scale than the model was trained with.

Source: transformers, ``integrations/bitnet.py``.
"""

from __future__ import annotations

import math

import numpy as np

from qconv.checkpoints.methods.parts import Config, Tensors, replaced, stems
from qconv.errors import FormatError
from qconv.tensors import FLOATS, Constant, LazyTensor, bitnet_codes
from qconv.tensors.quantized import affine, divided

_SCALE = ".weight_scale"


def undo(tensors: Tensors, config: Config) -> Tensors:
    """Raises ``FormatError`` for parts that do not fit together."""
    multiplies = config.get("linear_class") == "autobitlinear"
    made: dict[str, LazyTensor] = {}
    parts: set[str] = set()
    for module in stems(tensors, _SCALE):
        name, scale = f"{module}.weight", tensors[module + _SCALE]
        weight = tensors.get(name)
        parts.add(module + _SCALE)
        if weight is None:
            raise FormatError(f"is a scale, but there is no '{name}'", tensor=module + _SCALE)
        if weight.dtype != "U8" or len(weight.shape) != 2:
            raise FormatError(f"is {weight.dtype} {list(weight.shape)}, not packed bytes", tensor=name)
        if math.prod(scale.shape) != 1 or scale.dtype not in FLOATS:
            raise FormatError(f"is {scale.dtype} {list(scale.shape)}, not one number", tensor=module + _SCALE)
        codes = bitnet_codes(weight)
        one = Constant("one", np.ones(1, np.float32))
        made[name] = affine(codes, scale, zero=1) if multiplies else divided(affine(codes, one, zero=1), scale)
    return replaced(tensors, made, parts)
