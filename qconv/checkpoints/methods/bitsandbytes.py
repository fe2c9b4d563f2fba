"""bitsandbytes: 4 bits (nf4 and fp4, plain and doubly quantized) and LLM.int8().

A 4-bit weight has its codes under its own name, and beside them ``.absmax``, ``.quant_map`` and ``.quant_state.*``, the
JSON of its shape and block sizes; a doubly quantized one ``.nested_absmax`` and ``.nested_quant_map``, too.  8 bits
have ``SCB``, a scale for each row.

Source: bitsandbytes, ``functional.py`` and ``nn/modules.py``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qconv.checkpoints.methods.parts import Config, Tensors, replaced, stems
from qconv.errors import FormatError, UnsupportedError
from qconv.files import decode_json
from qconv.tensors import PLAIN, LazyTensor, operations, read_whole, reshape, scaled
from qconv.tensors.quantized import Scales, blockwise
from qconv.types import shape_text

_STATE = ".quant_state.bitsandbytes__"
_KINDS = ("nf4", "fp4")
_PARTS = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", *(_STATE + kind for kind in _KINDS))
_LARGEST_STATE = 1 << 16
_LARGEST_BLOCK = 1 << 20
_RECIPROCAL = 1 / 127


def undo(tensors: Tensors, config: Config) -> Tensors:
    """Raises ``FormatError`` when parts are missing or do not fit, ``UnsupportedError`` for old tilings of 8 bits."""
    made: dict[str, LazyTensor] = {}
    parts: set[str] = set()
    for name in stems(tensors, ".absmax"):
        parts |= {name + end for end in _PARTS}
        made[name] = _four_bits(tensors, name)
    for module in stems(tensors, ".SCB"):
        parts |= {f"{module}.SCB", f"{module}.weight_format"}
        made[f"{module}.weight"] = _eight_bits(tensors, module)
    bare = next(
        (n for n, t in tensors.items() if n.endswith(".weight") and t.dtype in ("U8", "I8") and n not in made), None
    )
    if bare is not None:
        scales = f"{bare}.absmax" if tensors[bare].dtype == "U8" else f"{bare.removesuffix('.weight')}.SCB"
        raise FormatError(f"is {tensors[bare].dtype}, but there is no '{scales}'", tensor=bare)
    return replaced(tensors, made, parts)


def _four_bits(tensors: Tensors, name: str) -> LazyTensor:
    codes, table, absmax = (_part(tensors, name, end) for end in ("", ".quant_map", ".absmax"))
    kind = next((kind for kind in _KINDS if name + _STATE + kind in tensors), None)
    if kind is None:
        raise FormatError(f"is quantized, but there is no '{name}{_STATE}nf4'", tensor=name)
    stored = tensors[name + _STATE + kind]
    state = _state(stored)
    shape = state.get("shape")
    if not isinstance(shape, list) or not shape or not all(isinstance(n, int) and 0 < n < 1 << 40 for n in shape):
        raise FormatError(f"says the shape {shape}", tensor=stored.sources[0])
    size = _size(state, "blocksize", stored)
    total = math.prod(shape)
    holds = 2 * math.prod(codes.shape) * np.dtype(PLAIN.get(codes.dtype, "V1")).itemsize
    if holds not in (total, total + 1):
        message = f"holds {holds} numbers of 4 bits, but '{stored.sources[0]}' says {shape_text(tuple(shape))}"
        raise FormatError(message, tensor=name)
    _check(table, (16,), ("F32",), name)
    blocks = -(-total // size)
    if name + ".nested_absmax" not in tensors:
        _check(absmax, (blocks,), ("F32", "F16", "BF16"), name)
        return blockwise(codes, table, Scales(reshape(absmax, (blocks, 1))), size, tuple(shape))
    nested, nested_table = (_part(tensors, name, end) for end in (".nested_absmax", ".nested_quant_map"))
    nested_size, offset = _size(state, "nested_blocksize", stored), state.get("nested_offset")
    if not isinstance(offset, int | float) or not math.isfinite(offset):
        raise FormatError(f"says nested_offset {offset}", tensor=stored.sources[0])
    runs = -(-blocks // nested_size)
    _check(absmax, (blocks,), ("U8",), name)
    _check(nested, (runs,), ("F32", "F16", "BF16"), name)
    _check(nested_table, (256,), ("F32",), name)
    inner, scale = reshape(absmax, (blocks, 1)), reshape(nested, (runs, 1))
    return blockwise(codes, table, Scales(inner, nested_table, scale, nested_size, float(offset)), size, tuple(shape))


def _eight_bits(tensors: Tensors, module: str) -> LazyTensor:
    weight, scale = _part(tensors, module, ".weight"), tensors[f"{module}.SCB"]
    tiling = tensors.get(f"{module}.weight_format")
    if tiling is not None:
        if math.prod(tiling.shape) != 1 or tiling.dtype != "U8":
            raise FormatError("does not hold one number", tensor=tiling.sources[0])
        if read_whole(tiling).reshape(-1)[0] != 0:
            raise UnsupportedError("is tiled for one kind of GPU (weight_format)", tensor=weight.sources[0])
    if weight.dtype != "I8" or len(weight.shape) != 2:
        raise FormatError(
            f"has the scales of 8 bits, but is {weight.dtype} {shape_text(weight.shape)}", tensor=weight.sources[0]
        )
    _check(scale, weight.shape[:1], ("F32", "F16", "BF16"), module)
    return _times(scaled(weight, scale, None), _RECIPROCAL)


def _times(tensor: LazyTensor, factor: float) -> LazyTensor:
    return operations()["scale"](tensor, factor)


def _part(tensors: Tensors, name: str, end: str) -> LazyTensor:
    part = tensors.get(name + end)
    if part is None:
        raise FormatError(f"is quantized, but there is no '{name}{end}'", tensor=name)
    return part


def _check(part: LazyTensor, shape: tuple[int, ...], dtypes: tuple[str, ...], name: str) -> None:
    if math.prod(part.shape) != math.prod(shape) or part.dtype not in dtypes:
        wanted = f"'{name}' needs {dtypes[0]} {shape_text(shape)}"
        raise FormatError(f"is {part.dtype} {shape_text(part.shape)}, but {wanted}", tensor=part.sources[0])


def _state(stored: LazyTensor) -> dict[str, Any]:
    """The JSON that a tensor's bytes are."""
    if stored.dtype != "U8" or math.prod(stored.shape) > _LARGEST_STATE:
        raise FormatError(f"is {stored.dtype} {shape_text(stored.shape)}, not a short text", tensor=stored.sources[0])
    try:
        state = decode_json(read_whole(stored).tobytes(), stored.sources[0])
    except FormatError as e:
        raise FormatError(e.message, tensor=stored.sources[0], hint=e.hint) from e
    if not isinstance(state, dict):
        raise FormatError("is not a JSON object", tensor=stored.sources[0])
    return state


def _size(state: dict[str, Any], key: str, stored: LazyTensor) -> int:
    size = state.get(key)
    if not isinstance(size, int) or isinstance(size, bool) or not 2 <= size <= _LARGEST_BLOCK or size % 2:
        raise FormatError(f"says {key} {size}", tensor=stored.sources[0])
    return size
