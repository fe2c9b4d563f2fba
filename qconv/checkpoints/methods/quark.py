"""AMD Quark's floats: of 8 bits with scales of tensors and channels, of 4 bits (MXFP4) with powers of two for each 32.

Names are ModelOpt's.  Quark's integers are packed in other orders, and are not read.

Source: amd-quark 0.13, ``torch/utils/pack.py`` (``Pack_fp4``) and ``torch/export/nn/modules/realquantizer.py``.
"""

from __future__ import annotations

from qconv.checkpoints.methods import modelopt
from qconv.checkpoints.methods.parts import Config, Tensors, is_fp8, scaled_names
from qconv.errors import UnsupportedError
from qconv.types import shape_text

_GROUP = 32


def undo(tensors: Tensors, config: Config) -> Tensors:
    """Raises ``UnsupportedError`` for integers, ``FormatError`` for parts that do not fit together."""
    for name in scaled_names(tensors, ()):
        weight, scale = tensors[name], tensors[name + "_scale"]
        pairs = weight.dtype == scale.dtype == "U8" and bool(weight.shape) and bool(scale.shape)
        if not is_fp8(weight) and not (pairs and 2 * weight.shape[-1] == _GROUP * scale.shape[-1]):
            what = f"{weight.dtype} {shape_text(weight.shape)} with scales of {scale.dtype} {shape_text(scale.shape)}"
            raise UnsupportedError(
                f"is quantized by 'quark', and is {what}; its 8-bit floats and MXFP4 are read", tensor=name
            )
    return modelopt.undo(tensors, {})
