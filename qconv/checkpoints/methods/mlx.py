"""MLX's quantized matrices: integers of 2 to 8 bits with scales and offsets, 4- and 8-bit floats with scales.

``X.weight``, U32, is a dense stream of codes in each row; ``X.scales`` and, of integers, ``X.biases``, are for groups
of columns.  A weight is ``code * scale + bias``, or the float times the scale.  What MLX changes of names and values
beside that is undone afterwards.

Source: mlx, ``ops.cpp`` and ``backend/cpu/quantized.cpp``; transformers, ``integrations/metal_quantization.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

from qconv.checkpoints.methods.parts import Config, Tensors, replaced, stems
from qconv.errors import FormatError
from qconv.tensors import LazyTensor, scaled
from qconv.tensors.quantized import Codes, affine, fp4_weight, retyped

_BIASES = (".biases", ".qbiases")
_WIDTHS = (4, 8, 6, 3, 5, 2)
_GROUPS = (64, 32, 128, 16)
_FLOATS = {4: "F4 of 32", 2: "F4 of 16", 8: "F8 of 32"}
"""What is scaled by bytes, by the words of a group."""


def undo(tensors: Tensors, config: Config) -> Tensors:
    """Raises ``FormatError`` for parts that do not fit together."""
    made: dict[str, LazyTensor] = {}
    parts: set[str] = set()
    known = {size for tensor in tensors.values() if len(tensor.shape) == 1 for size in tensor.shape}
    known |= {tensors[f"{name}.weight"].shape[-2] for name in _modules(tensors)}
    for name in _modules(tensors):
        biases = next((tensors[name + end] for end in _BIASES if name + end in tensors), None)
        parts |= {name + end for end in (".scales", *_BIASES)}
        weight, scale = tensors[f"{name}.weight"], tensors[f"{name}.scales"]
        if len(scale.shape) != len(weight.shape) or not scale.shape[-1] or scale.shape[:-1] != weight.shape[:-1]:
            message = f"is {list(scale.shape)}, which does not fit words of {list(weight.shape)}"
            raise FormatError(message, tensor=f"{name}.scales")
        if scale.dtype == "U8":
            made[f"{name}.weight"] = _floats(weight, scale)
            continue
        if biases is None:
            raise FormatError(f"is quantized, but there is no '{name}.biases'", tensor=f"{name}.weight")
        bits, group = _layout(weight, scale, name, config, known)
        codes = Codes(weight, bits, scale.shape[-1] * group)
        made[f"{name}.weight"] = affine(codes, scale, offset=biases, group=group)
    return replaced(tensors, made, parts)


def _modules(tensors: Tensors) -> Iterator[str]:
    for name in stems(tensors, ".scales"):
        weight = tensors.get(f"{name}.weight")
        if weight is not None and weight.dtype == "U32" and len(weight.shape) >= 2:
            yield name


def _floats(weight: LazyTensor, scale: LazyTensor) -> LazyTensor:
    form = _FLOATS.get(weight.shape[-1] // scale.shape[-1])
    if form == "F8 of 32":
        return scaled(retyped(weight, "F8_E4M3", "U32"), retyped(scale, "F8_E8M0", "U8"), (1, 32))
    return fp4_weight(weight, retyped(scale, "F8_E4M3", "U8") if form == "F4 of 16" else scale)


def _layout(weight: LazyTensor, scale: LazyTensor, name: str, config: Config, known: set[int]) -> tuple[int, int]:
    """Bits and group size: what the config says of this module, or of all; without it what makes a size there is."""
    own = config.get(name)
    for settings in (own if isinstance(own, dict) else {}, config):
        bits, group = settings.get("bits", config.get("bits")), settings.get("group_size", config.get("group_size"))
        if bits in _WIDTHS and group in _GROUPS and _fits(weight, scale, bits, group):
            return bits, group
    fitting = [(bits, g) for g in _GROUPS for bits in _WIDTHS if _fits(weight, scale, bits, g)]
    if not fitting:
        message = f"is {list(scale.shape)}, which does not fit words of {list(weight.shape)}"
        raise FormatError(message, tensor=scale.sources[0])
    return next(((bits, g) for bits, g in fitting if scale.shape[-1] * g in known), fitting[0])


def _fits(weight: LazyTensor, scale: LazyTensor, bits: int, group: int) -> bool:
    return weight.shape[-1] * 32 == scale.shape[-1] * group * bits
