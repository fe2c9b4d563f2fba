"""HQQ: integers of 1 to 8 bits whose zero points and scales are floats.

The weight is seen as ``(groups, group size)`` (axis 1) or ``(group size, groups)`` (axis 0).  ``W_q`` holds the codes
of that matrix, its parts side by side in the bits of a byte; ``scale`` and ``zero`` go with its rows or columns,
``(code - zero) * scale``; ``shape`` is the weight's.

Source: hqq, ``core/quantize.py`` and ``core/bitpack.py``.
"""

from __future__ import annotations

import math

from qconv.checkpoints.methods.parts import Config, Tensors, replaced, stems
from qconv.errors import FormatError, UnsupportedError
from qconv.tensors import LazyTensor, RepeatedRow, StackedCodes, read_whole, reshape
from qconv.tensors.quantized import affine, retyped
from qconv.types import shape_text

_SHIFTS = {
    "8bit_u8": (0,),
    "4bit_u8": (4, 0),
    "3bit_32": (27, 24, 21, 18, 15, 12, 9, 6, 3, 0),
    "2bit_u8": (6, 4, 2, 0),
    "1bit_u8": (7, 6, 5, 4, 3, 2, 1, 0),
}
_FLOATS = ("F16", "BF16", "F32")
_PARTS = (
    "W_q",
    "scale",
    "zero",
    "shape",
    "nbits",
    "group_size",
    "axis",
    "packing",
    "unpack_view_dtype",
    "view_as_float",
)
_SETTINGS = ("compute_dtype", "quant_scale", "quant_zero", "offload_meta", "encoded_state_dict", "stores_quant_config")
_CHOICES = ("channel_wise", "optimize", "round_zero")
_LARGEST = 1 << 40


def undo(tensors: Tensors, config: Config) -> Tensors:
    """Raises ``UnsupportedError`` for scales quantized themselves, ``FormatError`` for parts that do not fit."""
    made: dict[str, LazyTensor] = {}
    parts: set[str] = set()
    for module in stems(tensors, ".W_q"):
        parts |= {f"{module}.{end}" for end in (*_PARTS, *_SETTINGS, *_CHOICES)}
        if f"{module}.zero_q" in tensors or f"{module}.scale_q" in tensors:
            raise UnsupportedError("has scales that HQQ quantized again", tensor=f"{module}.W_q")
        made[f"{module}.weight"] = _weight(tensors, module)
    return replaced(tensors, made, parts)


def _weight(tensors: Tensors, module: str) -> LazyTensor:
    packed, scale, zero, sizes = (_part(tensors, module, end) for end in ("W_q", "scale", "zero", "shape"))
    two = sizes.shape == (2,) and sizes.dtype in ("I32", "I64")
    shape = tuple(int(n) for n in read_whole(sizes).reshape(-1)) if two else ()
    total = math.prod(shape)
    if len(shape) != 2 or not all(0 < n < _LARGEST for n in shape) or total > _LARGEST:
        raise FormatError(f"says {shape_text(shape)}, not the shape of a matrix", tensor=sizes.sources[0])
    form = _packing(tensors, module)
    shifts, word = _SHIFTS[form], "I32" if form == "3bit_32" else "U8"
    words = retyped(packed, word, *_FLOATS)
    by_rows = len(scale.shape) == 2 and scale.shape[1] == 1
    groups = math.prod(scale.shape)
    if (
        len(words.shape) != 2
        or words.dtype != word
        or not groups
        or total % groups
        or zero.shape not in (scale.shape, ())
    ):
        raise _misfit(packed, shape)
    rows, columns = (groups, total // groups) if by_rows else (total // groups, groups)
    if words.shape != (-(-rows // len(shifts)), columns):
        raise _misfit(packed, shape)
    codes = StackedCodes(words, shifts, int(form[0]), rows)
    if not by_rows:
        scale, zero = (RepeatedRow(reshape(part, (1, groups)), rows) for part in (scale, zero))
    return reshape(affine(codes, scale, zero=zero), shape)


def _packing(tensors: Tensors, module: str) -> str:
    stored = tensors.get(f"{module}.packing")
    text = b"" if stored is None or math.prod(stored.shape) > 16 else read_whole(stored).tobytes()
    form = text.decode("latin-1")
    if form not in _SHIFTS:
        known = ", ".join(_SHIFTS)
        raise UnsupportedError(f"is packed as '{form}'; known: {known}", tensor=f"{module}.W_q")
    return form


def _part(tensors: Tensors, module: str, end: str) -> LazyTensor:
    part = tensors.get(f"{module}.{end}")
    if part is None:
        raise FormatError(f"is packed, but there is no '{module}.{end}'", tensor=f"{module}.W_q")
    return part


def _misfit(packed: LazyTensor, shape: tuple[int, ...]) -> FormatError:
    message = f"is {packed.dtype} {shape_text(packed.shape)}, which with its scales is no {shape_text(shape)} weight"
    return FormatError(message, tensor=packed.sources[0])
