"""DeepSeek's, Qwen's and Mistral's 8-bit floats: a scale for each block of ``weight_block_size``, or for the tensor.

Which tensors belong together follows llama.cpp's converter (``dequant_model`` in its ``conversion/base.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

from qconv.checkpoints.methods.parts import Config, Tensors, block_size, fitting, is_fp8, scale, stems
from qconv.tensors import LazyTensor

_UNUSED = (".activation_scale", "_activation_scale", ".qscale_act")
_SCALE = ".scale"
"""Of DeepSeek V4, whose experts' 4-bit floats have scales of that name too: they stay what they are."""
_PAIRS = {"_scale_inv": "", ".qscale_weight": ".weight", _SCALE: ".weight"}


def undo(tensors: Tensors, config: Config) -> Tensors:
    """A config that says nothing leaves the block size to the shapes."""
    block = block_size(config.get("weight_block_size"))

    def of(weight: LazyTensor, scales: LazyTensor) -> Sequence[int] | None:
        said = "weight_block_size" in config
        return fitting(weight, scales, block) if said else _by_shape(weight, scales)

    others = {name for name in stems(tensors, _SCALE) if not is_fp8(tensors.get(name + ".weight"))}
    left = {name + _SCALE for name in others}
    plain = scale({name: tensor for name, tensor in tensors.items() if name not in left}, _PAIRS, of, _UNUSED)
    return {name: plain.get(name, tensor) for name, tensor in tensors.items() if name in plain or name in left}


def _by_shape(weight: LazyTensor, scales: LazyTensor) -> Sequence[int] | None:
    """The usual 128 where they make as many blocks as there are, else what divides the weight into so many."""
    if len(weight.shape) != len(scales.shape) or len(weight.shape) < 2:
        return None
    sizes = list(zip(weight.shape[-2:], scales.shape[-2:], strict=True))
    return [128 if -(-size // 128) == n else max(1, -(-size // max(1, n))) for size, n in sizes]
