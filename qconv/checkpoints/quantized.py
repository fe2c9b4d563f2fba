"""Checkpoints that are quantized already: which of the ways qconv undoes, and the rest refused by name.

Which tensors belong together follows llama.cpp's converter (``dequant_model`` in its ``conversion/base.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qconv.checkpoints.checkpoint import Checkpoint
from qconv.errors import FormatError, QconvError, UnsupportedError
from qconv.tensors import FLOATS8, PACKED_SUFFIXES, LazyTensor, Widened, packed, scaled

Config = Mapping[str, Any]
Tensors = Mapping[str, LazyTensor]

_LARGEST_BLOCK = 1 << 20
_BARE = "the checkpoint is incomplete, or quantized in a way that qconv does not read"
_SCALES = ("_scale_inv", ".qscale_weight", ".weight_scale")
_HINT = "convert the model it was made from: look for 'base_model' on its model card"


def undo(checkpoint: Checkpoint) -> None:
    """Makes ``checkpoint`` hand out the tensors its quantized ones stand for.

    Raises ``UnsupportedError`` naming the quantization when qconv cannot undo it, ``FormatError`` when its parts do not
    fit together.
    """
    if checkpoint.metadata is not None:
        return
    config = quantization_config(checkpoint.config or {})
    method = None if config is None else config.get("quant_method")
    try:
        if config is None or method is None:
            checkpoint.lazy = _bare(checkpoint)
            return
        dequantize = METHODS.get(method) if isinstance(method, str) else None
        if dequantize is None:
            known = ", ".join(METHODS)
            raise UnsupportedError(f"is quantized by '{method}'; qconv reads {known}", hint=_HINT)
        checkpoint.lazy = dequantize(checkpoint.lazy, config)
    except QconvError as e:
        e.file = e.file or checkpoint.location
        raise


def quantization_config(config: Config) -> Config | None:
    """The ``quantization_config`` of a ``config.json``, its own or its text model's; None when there is none."""
    text = config.get("text_config")
    for holder in (config, text if isinstance(text, dict) else {}):
        found = holder.get("quantization_config")
        if isinstance(found, dict) and found:
            return found
    return None


def _bare(checkpoint: Checkpoint) -> Tensors:
    """The tensors of a checkpoint whose config says nothing of quantization."""
    if not any(map(_is_fp8, checkpoint.lazy.values())):
        return checkpoint.lazy
    scale = next((name for name in checkpoint.lazy if name.endswith(_SCALES)), None)
    if scale is not None and checkpoint.config is not None:
        raise FormatError(
            f"has no quantization_config, which says how '{scale}' and other scales apply to the 8-bit floats",
            file=checkpoint.folder.locate("config.json"),
            hint="take config.json from the model's repository",
        )
    return {name: Widened(tensor) if _is_fp8(tensor) else tensor for name, tensor in checkpoint.lazy.items()}


def _fp8(tensors: Tensors, config: Config) -> Tensors:
    """DeepSeek's, Qwen's and Mistral's FP8: ``NAME_scale_inv`` times blocks of ``weight_block_size``, or per tensor."""
    unused = (".activation_scale", "_activation_scale", ".qscale_act")
    pairs = {"_scale_inv": "", ".qscale_weight": ".weight"}
    return _scale(tensors, pairs, _block(config.get("weight_block_size")), unused)


def _compressed_tensors(tensors: Tensors, config: Config) -> Tensors:
    """compressed-tensors: one number a weight with ``NAME_scale`` for each channel or block, or packed integers."""
    form, groups = config.get("format"), config.get("config_groups")
    if form not in ("float-quantized", "int-quantized", "naive-quantized", "pack-quantized"):
        raise UnsupportedError(f"is quantized by 'compressed-tensors' in the format '{form}'", hint=_HINT)
    group = next(iter(groups.values()), None) if isinstance(groups, dict) and len(groups) == 1 else None
    weights = group.get("weights") if isinstance(group, dict) else None
    if not isinstance(weights, dict):
        raise UnsupportedError("needs one group of weights in compressed-tensors' 'config_groups'", hint=_HINT)
    if form == "pack-quantized":
        return _unpack(tensors, weights)
    if weights.get("strategy") not in ("channel", "block", "tensor") or weights.get("group_size") is not None:
        raise UnsupportedError(f"has the compressed-tensors strategy '{weights.get('strategy')}'", hint=_HINT)
    if weights.get("symmetric") is False:
        raise UnsupportedError("has asymmetric compressed-tensors weights", hint=_HINT)
    block = _block(weights.get("block_structure"))
    return _scale(tensors, {".weight_scale": ".weight"}, block, (".input_scale", ".k_scale", ".v_scale"))


def _unpack(tensors: Tensors, weights: Config) -> Tensors:
    bits, group, strategy, kind = (weights.get(key) for key in ("num_bits", "group_size", "strategy", "type"))
    known = strategy == "group" and kind in ("int", None) and not weights.get("actorder")
    if not known or not isinstance(bits, int) or not 2 <= bits <= 8:
        message = f"has packed weights of {bits} bits, strategy '{strategy}', type '{kind}'"
        raise UnsupportedError(message, hint=_HINT)
    (size,) = _block([group]) or ()
    names = [name.removesuffix("_packed") for name in tensors if name.endswith(".weight_packed")]
    parts = {name + end for name in names for end in PACKED_SUFFIXES}
    plain = {name: tensor for name, tensor in tensors.items() if name not in parts}
    return plain | {name: packed(tensors, name, bits, size) for name in names}  # llama.cpp puts them last, too


def _modelopt(tensors: Tensors, config: Config) -> Tensors:
    """NVIDIA ModelOpt's FP8: one scale a tensor or channel.  Its NVFP4 is refused."""
    if any(name.endswith((".weight_scale_2", ".weight_quantizer._scale")) for name in tensors):
        raise UnsupportedError(f"is quantized by 'modelopt' to {config.get('quant_algo', 'NVFP4')}", hint=_HINT)
    return _scale(tensors, {".weight_scale": ".weight"}, None, (".input_scale", ".k_scale", ".v_scale"))


def _mxfp4(tensors: Tensors, config: Config) -> Tensors:
    """MXFP4 experts stay as they are: their architecture carries the blocks over bit for bit."""
    return tensors


def _scale(tensors: Tensors, pairs: Mapping[str, str], block: Sequence[int] | None, unused: tuple[str, ...]) -> Tensors:
    """Pairs scales with weights by the ends of their names, and drops scales and ``unused`` tensors.

    Every 8-bit float needs its scale: modules a method leaves alone are stored in 16 bits.
    """
    result = {name: tensor for name, tensor in tensors.items() if not name.endswith(unused)}
    with_scale: set[str] = set()
    for name, tensor in tensors.items():
        end = next((end for end in pairs if name.endswith(end)), None)
        if end is None or name not in result:
            continue
        weight = name.removesuffix(end) + pairs[end]
        del result[name]
        if weight not in tensors:
            raise FormatError(f"is a scale, but there is no '{weight}'", tensor=name)
        if weight in result:
            result[weight] = scaled(tensors[weight], tensor, _fitting(tensor, block))
            with_scale.add(weight)
    bare = next((name for name, tensor in result.items() if _is_fp8(tensor) and name not in with_scale), None)
    if bare is not None:
        end, weight = next(iter(pairs.items()))
        message = f"is {tensors[bare].dtype} without its scale: there is no '{bare.removesuffix(weight)}{end}'"
        raise FormatError(message, tensor=bare, hint=_BARE)
    return result


def _is_fp8(tensor: LazyTensor) -> bool:
    return tensor.dtype in FLOATS8


def _fitting(scale: LazyTensor, block: Sequence[int] | None) -> Sequence[int] | None:
    """The block size, except for a scale with fewer dimensions, which belongs to channels or the tensor."""
    return block if block is not None and len(scale.shape) >= len(block) else None


def _block(value: object) -> tuple[int, ...] | None:
    if value is None:
        return None
    if isinstance(value, list) and value and all(isinstance(n, int) and 0 < n <= _LARGEST_BLOCK for n in value):
        return tuple(value)
    raise FormatError(f"has an unusable block size, {value}")


METHODS: dict[str, Callable[[Tensors, Config], Tensors]] = {
    "fp8": _fp8,
    "compressed-tensors": _compressed_tensors,
    "modelopt": _modelopt,
    "mxfp4": _mxfp4,
}
"""By ``quant_method``, what makes plain tensors of the quantized ones."""
