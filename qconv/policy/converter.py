"""llama.cpp's first stage: the types its converter writes before anything quantizes them (``converter.toml``)."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Sequence

import msgspec

from qconv import formats
from qconv.policy.decision import Choice, Decision
from qconv.policy.fitting import fitting
from qconv.policy.mixes import Mix
from qconv.policy.overrides import TypeOverrides
from qconv.tensors import FLOATS
from qconv.types import ModelPart, TensorInfo

_LAYER = re.compile(r"^blk\.\d+\.")


class AlwaysF32(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names always written as F32: ``names`` without a layer's ``blk.N.``, ``ends`` parts of names.

    ``weights``: endings of the names that are not.  ``half_at_most``: parts of names written as F16 or F32.
    ``of_projectors``: block types that projectors' files are written in besides floats.
    """

    names: frozenset[str]
    ends: tuple[str, ...]
    weights: tuple[str, ...]
    half_at_most: tuple[str, ...]
    of_projectors: tuple[str, ...]


@functools.cache
def _table() -> AlwaysF32:
    return formats.load(formats.ROOT / "converter.toml", AlwaysF32)


def writes(mix: Mix, part: ModelPart) -> bool:
    """Whether the converter writes a part's file of this mix itself, without the quantizer."""
    return mix.is_float or (part == "projector" and mix.name in _table().of_projectors)


def intermediate_type(name: str, shape: tuple[int, ...], float_type: str, store: str | None = None) -> str:
    """The type the converter gives output ``name`` in a file of ``float_type`` (F32, F16, BF16; of projectors Q8_0).

    ``store``: what the table forces on it, "file" being the file's own type, "half" F16 in an F16 file and else F32.
    """
    table = _table()
    if len(shape) <= 1 or name.endswith(table.ends):
        return "F32"
    half = any(part in name for part in table.half_at_most)
    if store == "half" or (store is None and half):
        return "F16" if float_type == "F16" else "F32"
    if store is not None:
        return float_type if store == "file" else store
    if not name.endswith(table.weights) or _LAYER.sub("", name) in table.names:
        return "F32"
    return float_type


def choose(
    tensors: Sequence[TensorInfo], fixed: Collection[str], mix: Mix, overrides: TypeOverrides | None = None
) -> Choice:
    """The types of a file that the converter writes itself, tensors in its order.

    ``tensors``: with the types it would give them in a file of the mix's type.  ``fixed``: names of those whose type
    does not depend on the file's.
    """
    overrides = overrides or TypeOverrides()
    asked: list[str] = []
    decisions = []
    for tensor in tensors:
        if tensor.dtype not in FLOATS and (tensor.name in fixed or tensor.dtype != mix.type):
            carried = tensor.dtype in formats.block_types() and formats.block_types()[tensor.dtype].weights > 1
            reason = "blocks of the checkpoint, carried over" if carried else "not a float"
            decisions.append(Decision(tensor.name, tensor.shape, tensor.dtype, tensor.dtype, reason))
        elif tensor.name in fixed:
            decisions.append(Decision(tensor.name, tensor.shape, tensor.dtype, tensor.dtype, "always stored so"))
        elif tensor.dtype in FLOATS and tensor.dtype != mix.type:
            reason = "F16 in an F16 file, else F32"
            decisions.append(Decision(tensor.name, tensor.shape, tensor.dtype, tensor.dtype, reason))
        else:
            asked.append(tensor.name)
            given = overrides.tensor_type(tensor.name) if mix.keep else None
            by_name = None if given is None else (given.type, "tensor type given")
            wanted, reason = overrides.of_role(tensor) or by_name or (mix.type, "default")
            used = fitting(tensor, wanted)
            fallen = None if used == wanted else wanted
            decisions.append(Decision(tensor.name, tensor.shape, tensor.dtype, used, reason, fallen))
    carried_experts = any(d.type == "MXFP4" for d in decisions)
    number = formats.file_types()["MXFP4_MOE"] if carried_experts else mix.file_type
    assert number is not None  # checked when the mix was loaded
    return Choice(tuple(decisions), number, tuple(overrides.without_effect(asked, mix.name, not mix.keep)))
