"""Weights with one stored number each, 8-bit floats or integers, and scales of any strategy."""

from __future__ import annotations

from collections.abc import Sequence

from qconv.checkpoints.methods.parts import Tensors
from qconv.errors import FormatError
from qconv.tensors import LazyTensor, reshape, scaled
from qconv.tensors.quantized import affine, retyped
from qconv.types import shape_text


def scaled_numbers(tensors: Tensors, name: str, blocks: Sequence[Sequence[int]]) -> LazyTensor:
    """The weight ``name`` times ``NAME_scale``, less ``NAME_zero_point`` where there is one, with ``NAME_g_idx``.

    ``blocks``: sizes that the config names; one counts where it makes as many blocks as there are scales.
    """
    weight, scale = tensors[name], retyped(tensors[name + "_scale"], "F8_E8M0", "U8")
    zero, order = tensors.get(name + "_zero_point"), tensors.get(name + "_g_idx")
    if weight.dtype == "I8" and (zero is not None or order is not None):
        return affine(weight, scale, zero=0 if zero is None else zero, order=order)
    return scaled(weight, scale, block_of(weight, scale, blocks))


def times_inputs(weight: LazyTensor, factors: LazyTensor) -> LazyTensor:
    """``weight`` with each column times its factor: what multiplied the activations, on the other side."""
    width = weight.shape[-1]
    if len(weight.shape) < 2 or factors.shape not in ((width,), (1, width)):
        message = f"is {shape_text(factors.shape)}, but the weights are {shape_text(weight.shape)}"
        raise FormatError(message, tensor=factors.sources[0])
    return scaled(weight, reshape(factors, (*(1 for _ in weight.shape[:-1]), width)), (max(1, weight.shape[-2]), 1))


def block_of(weight: LazyTensor, scale: LazyTensor, blocks: Sequence[Sequence[int]] = ()) -> Sequence[int] | None:
    """Weights that a scale lasts for: the config's block where it fits, else a run of columns; None: channels."""
    if len(scale.shape) != len(weight.shape) or len(weight.shape) < 2:
        return None
    (rows, columns), (down, across) = weight.shape[-2:], scale.shape[-2:]
    if across == 1 and down in (1, rows):
        return None
    for block in blocks:
        if len(block) == 2 and (-(-rows // block[0]), -(-columns // block[1])) == (down, across):
            return block
    if down == 1 and across == columns:
        return None
    if down == rows and across and columns % across == 0:
        return (1, columns // across)
    return (128, 128) if (-(-rows // 128), -(-columns // 128)) == (down, across) else None
