"""AWQ, by the shapes and types of its tensors: GEMM, which nearly all are, GEMV, and what came before both."""

from __future__ import annotations

import math

from qconv.checkpoints.methods.parts import Config, Tensors, replaced, stems
from qconv.errors import FormatError, UnsupportedError
from qconv.tensors import LazyTensor
from qconv.tensors.quantized import awq_gemm, awq_gemv, awq_gemv_fast

_PARTS = (".qweight", ".qzeros", ".scales")
_OTHERS = ("marlin",)
_PER_WORD = 8


def undo(tensors: Tensors, config: Config) -> Tensors:
    """Raises ``UnsupportedError`` for layouts of one kernel, ``FormatError`` for parts that do not fit together."""
    version = str(config.get("version", "gemm")).lower()
    bits = config.get("bits", config.get("w_bit", 4))
    if version in _OTHERS:
        raise UnsupportedError(f"is quantized by AWQ for one kernel, '{version}'")
    if bits != 4:
        raise UnsupportedError(f"is quantized by AWQ to {bits} bits; 4 are known")
    size = config.get("group_size", config.get("q_group_size"))
    made: dict[str, LazyTensor] = {}
    parts: set[str] = set()
    for name in stems(tensors, ".qweight"):
        parts |= {name + end for end in _PARTS}
        made[f"{name}.weight"] = _weight(tensors, name, size if isinstance(size, int) and size > 0 else None)
    return replaced(tensors, made, parts)


def _weight(tensors: Tensors, name: str, size: int | None) -> LazyTensor:
    weight, zeros, scale = (tensors.get(name + end) for end in _PARTS)
    assert weight is not None
    if scale is None:
        raise FormatError(f"is packed, but there is no '{name}.scales'", tensor=f"{name}.qweight")
    if weight.dtype == "I16" and zeros is not None:
        inputs, rows = weight.shape[-1], scale.shape[0] if scale.shape else 0
        return awq_gemv_fast(weight, zeros, scale, size or _by_width(inputs, rows // _PER_WORD))
    if zeros is None or len(weight.shape) != 2 or len(zeros.shape) != 2 or zeros.shape[0] != weight.shape[0]:
        return awq_gemm(weight, zeros, scale)
    if weight.shape == zeros.shape:  # as many groups as inputs: none that is known
        raise FormatError("has as many zero points as weights", tensor=f"{name}.qzeros")
    return awq_gemv(weight, zeros, scale, size or _by_width(_PER_WORD * weight.shape[1], zeros.shape[1]))


def _by_width(inputs: int, wide: int) -> int:
    """The group size that makes ``wide`` words of zero points, in the multiples that the kernel wants."""
    for size, multiple in ((128, 1), (64, 2), (32, 4)):
        words = math.ceil(inputs // size / _PER_WORD)
        if math.ceil(words / multiple) * multiple == wide:
            return size
    return 128
