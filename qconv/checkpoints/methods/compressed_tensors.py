"""compressed-tensors, which llm-compressor writes: every weight by what its own tensors are.

The config's groups match modules by regular expressions; what they say of bits and group sizes follows from shapes, so
that mixed precision and several groups need none of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from qconv.checkpoints.methods.numbers import scaled_numbers
from qconv.checkpoints.methods.parts import BARE, Config, Tensors, block_size, is_fp8, replaced, scaled_names, stems
from qconv.errors import FormatError, UnsupportedError
from qconv.tensors import LazyTensor
from qconv.tensors.quantized import PACKED_SUFFIXES, packed, packed_fp4

_FORMATS = (
    "dense",
    "float-quantized",
    "int-quantized",
    "naive-quantized",
    "pack-quantized",
    "mixed-precision",
    "nvfp4-pack-quantized",
    "mxfp4-pack-quantized",
    "mxfp8-quantized",
)
_ACTIVATIONS = (".input_scale", ".input_zero_point", ".input_global_scale", ".output_scale")
_ATTENTION = (".k_scale", ".v_scale", ".kv_scale", ".q_scale", ".k_zero_point", ".v_zero_point", ".q_zero_point")
_UNUSED = (*_ACTIVATIONS, *_ATTENTION)
_FP4_SUFFIXES = ("_packed", "_scale", "_global_scale")


def undo(tensors: Tensors, config: Config) -> Tensors:
    """Raises ``UnsupportedError`` for formats of sparse weights, ``FormatError`` for parts that do not fit."""
    groups = list(_groups(config))
    for form in (config.get("format"), *(group.get("format") for group, _ in groups)):
        if form is not None and form not in _FORMATS:
            raise UnsupportedError(f"is quantized by 'compressed-tensors' in the format '{form}'")
    weights = [described for _, described in groups]
    widths = [bits for each in weights if isinstance(bits := each.get("num_bits"), int)]
    sizes = [size for each in weights if isinstance(size := each.get("group_size"), int) and size > 0]
    blocks = [block for each in weights if (block := block_size(each.get("block_structure"))) is not None]
    made: dict[str, LazyTensor] = {}
    parts: set[str] = {name for name in tensors if name.endswith(_UNUSED)}
    for name in stems(tensors, "_packed"):
        integers = tensors[name + "_packed"].dtype == "I32"
        parts |= {name + end for end in (PACKED_SUFFIXES if integers else _FP4_SUFFIXES)}
        made[name] = packed(tensors, name, widths, next(iter(sizes), None)) if integers else packed_fp4(tensors, name)
    for name in scaled_names(tensors, frozenset(parts)):
        parts |= {name + end for end in ("_scale", "_zero_point", "_g_idx")}
        made[name] = scaled_numbers(tensors, name, blocks)
    bare = next(
        (name for name, tensor in tensors.items() if is_fp8(tensor) and name not in made and name not in parts), None
    )
    if bare is not None:
        message = f"is {tensors[bare].dtype} without its scale: there is no '{bare}_scale'"
        raise FormatError(message, tensor=bare, hint=BARE)
    return replaced(tensors, made, parts)


def _groups(config: Config) -> Iterator[tuple[Config, Config]]:
    """The config's groups, and what each says of its weights."""
    groups = config.get("config_groups")
    for group in groups.values() if isinstance(groups, dict) else ():
        weights = group.get("weights") if isinstance(group, dict) else None
        if isinstance(weights, dict):
            yield group, weights
