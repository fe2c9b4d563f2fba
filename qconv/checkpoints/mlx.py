"""Checkpoints that MLX saved: names and values as transformers has them, by ``formats/mlx.toml``.

Tensors of a quantized one are decoded before they come here.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping

import msgspec

from qconv.checkpoints.checkpoint import Checkpoint
from qconv.errors import FormatError, UnsupportedError
from qconv.formats import ROOT, load
from qconv.tensors import LazyTensor, join_along, member, operations, reshape

FRAMEWORK = "mlx"
"""What a file's own metadata calls its format when MLX saved it."""

_CONVOLUTION = re.compile(r"(?:^|\.)conv(?:1d|_1d)?\.weight$")
_PATCHES = re.compile(r"(?:patch_embed|patch_embedding|patch_conv)(?:\.\w+)?\.weight$")
_STACK = re.compile(r"(?P<parent>.+)\.switch_mlp\.(?P<name>\w+)\.(?P<end>weight|bias)")
_CHANNELS = (1, 3)
_WIDEST = 16
"""Kernels that slide over tokens are 3 or 4 wide; what is much wider mixes channels of one token."""
_HINT = "convert the model it was made from: look for 'base_model' on its model card"


class _Undo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ends: tuple[str, ...]
    do: dict[str, tuple[float, ...]]


class _Join(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    parts: tuple[str, ...]
    into: str
    of_heads: bool = False


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    models: tuple[str, ...]
    renames: dict[str, str] = {}
    undo: tuple[_Undo, ...] = ()
    joins: tuple[_Join, ...] = ()


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    same: tuple[str, ...]
    rules: tuple[_Rule, ...]
    refused: dict[str, str]


@functools.cache
def _table() -> _Table:
    return load(ROOT / "mlx.toml", _Table)


def undo(checkpoint: Checkpoint) -> None:
    """Makes ``checkpoint`` hand out its tensors as transformers would have saved them, if MLX saved them.

    Files' metadata or a ``quantization`` in the config say so.  The kernels of convolutions tell better where there are
    any: that mark may be lost, or be left on tensors that were never loaded into a model.

    Raises UnsupportedError for a kind of model whose changes are not known or not undone.
    """
    tensors, config = checkpoint.lazy, checkpoint.config
    if config is None:
        return
    quantization = config.get("quantization")
    marked = FRAMEWORK in checkpoint.frameworks or (isinstance(quantization, dict) and "group_size" in quantization)
    kernels = [tensor.shape for name, tensor in tensors.items() if _CONVOLUTION.search(name) and len(tensor.shape) == 3]
    swapped = any(map(_channels_last, kernels))
    if not swapped and (kernels or not marked):
        return
    kind = config.get("model_type")
    rule = next((rule for rule in _table().rules if kind in rule.models), _Rule(models=()))
    if kind in _table().refused:
        message = f"was saved by MLX, which {_table().refused[str(kind)]}; qconv does not undo that"
        raise UnsupportedError(message, file=checkpoint.location, hint=_HINT)
    known = bool(rule.models) or kind in _table().same
    if not known and not marked:
        return
    if not known:
        message = f"was saved by MLX, and which weights MLX changes in models of type '{kind}' is not known"
        raise UnsupportedError(message, file=checkpoint.location, hint=_HINT)
    undone: dict[str, LazyTensor] = {}
    for stored, tensor in _joined(tensors, rule):
        for name, one in _apart(_renamed(stored, rule), _values(stored, tensor, rule)):
            if name in undone:
                raise FormatError(f"is there twice: as '{stored}', too", file=checkpoint.location, tensor=name)
            undone[name] = one
    places = {file.name: number for number, file in enumerate(checkpoint.files)}
    file = {name: places[checkpoint.stored[one.sources[0]].file.name] for name, one in undone.items()}
    checkpoint.lazy = {name: undone[name] for name in sorted(undone, key=lambda name: (file[name], name))}


def _channels_last(shape: tuple[int, ...]) -> bool:
    """Whether a kernel for each channel by itself is ``(channels, width, 1)``; transformers has the 1 in the middle."""
    return shape[-1] == 1 < shape[1] <= _WIDEST


def _joined(tensors: Mapping[str, LazyTensor], rule: _Rule) -> Iterator[tuple[str, LazyTensor]]:
    """The tensors, those that are one in transformers joined in the place of their first part."""
    whole: dict[str, tuple[_Join, list[str]]] = {}
    for name in tensors:
        for join in rule.joins:
            names = [name.replace(join.parts[0], part) for part in join.parts]
            if join.parts[0] in name and all(each in tensors for each in names):
                whole[name] = (join, names)
    parts = {name for _, names in whole.values() for name in names}
    for name, tensor in tensors.items():
        if name in whole:
            join, names = whole[name]
            yield name.replace(join.parts[0], join.into), _one(join, [tensors[each] for each in names])
        elif name not in parts:
            yield name, tensor


def _one(join: _Join, parts: list[LazyTensor]) -> LazyTensor:
    if join.of_heads:
        parts = [operations()["transpose"](parts[0]), *parts[1:]]
    joined = join_along("join", parts, max(0, len(parts[0].shape) - 2))
    return reshape(joined, (math.prod(joined.shape[:-1]), joined.shape[-1])) if join.of_heads else joined


def _renamed(name: str, rule: _Rule) -> str:
    for written, original in rule.renames.items():
        name = name.replace(written, original)
    return name


def _values(name: str, tensor: LazyTensor, rule: _Rule) -> LazyTensor:
    shape = tensor.shape
    if _CONVOLUTION.search(name) and len(shape) == 3 and _channels_last(shape):
        return reshape(tensor, (shape[0], 1, shape[1]))
    if _PATCHES.search(name) and len(shape) >= 4 and shape[-1] in _CHANNELS and shape[1] not in _CHANNELS:
        turned = operations()["transpose"](reshape(tensor, (shape[0], math.prod(shape[1:-1]), shape[-1])))
        return reshape(turned, (shape[0], shape[-1], *shape[1:-1]))
    for step in rule.undo:
        if name.endswith(step.ends):
            for operation, arguments in step.do.items():
                tensor = operations()[operation](tensor, *arguments)
    return tensor


def _apart(name: str, tensor: LazyTensor) -> Iterator[tuple[str, LazyTensor]]:
    """Experts one by one where they are stacked; anything else as it is."""
    match = _STACK.fullmatch(name)
    if match is None or len(tensor.shape) < 2:
        yield name, tensor
        return
    for expert in range(tensor.shape[0]):
        yield f"{match['parent']}.experts.{expert}.{match['name']}.{match['end']}", member(tensor, expert)
