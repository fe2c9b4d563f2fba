"""What methods share: which tensors belong to one weight, and scales for numbers of one each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from qconv.errors import FormatError
from qconv.tensors import FLOATS8, LazyTensor, scaled

Config = Mapping[str, Any]
Tensors = Mapping[str, LazyTensor]

BARE = "the checkpoint is incomplete, or quantized in a way that qconv does not read"
_LARGEST_BLOCK = 1 << 20


def replaced(tensors: Tensors, made: Mapping[str, LazyTensor], parts: Collection[str]) -> Tensors:
    """``tensors`` without ``parts`` and with those ``made`` of them.

    A tensor keeps the place of its name; new names come last, where llama.cpp's converter puts them.
    """
    kept = {name: made.get(name, tensor) for name, tensor in tensors.items() if name in made or name not in parts}
    return {**kept, **made}


def stems(tensors: Iterable[str], ending: str) -> list[str]:
    """Names that end in ``ending``, without it."""
    return [name.removesuffix(ending) for name in tensors if name.endswith(ending)]


def scaled_names(tensors: Tensors, taken: Collection[str]) -> Iterator[str]:
    """Names of tensors that have a scale, ``NAME_scale``, which is not among ``taken``.

    Some models have parameters of their own whose names end so.  FormatError for the scale of a weight that is missing.
    """
    for name in stems(tensors, "_scale"):
        if name in tensors and name + "_scale" not in taken:
            yield name
        elif name.endswith(".weight") and name + "_scale" not in taken:
            raise FormatError(f"is a scale, but there is no '{name}'", tensor=name + "_scale")


def block_size(value: object) -> tuple[int, ...] | None:
    """A config's block size, None where it says none; ``FormatError`` for what is none."""
    if value is None:
        return None
    if isinstance(value, list) and value and all(isinstance(n, int) and 0 < n <= _LARGEST_BLOCK for n in value):
        return tuple(value)
    raise FormatError(f"has an unusable block size, {value}")


def scale(
    tensors: Tensors,
    pairs: Mapping[str, str],
    block: Callable[[LazyTensor, LazyTensor], Sequence[int] | None],
    unused: tuple[str, ...],
) -> Tensors:
    """Pairs scales with weights by the ends of their names, and drops scales and ``unused`` tensors.

    ``block``: of a weight and its scale, how many weights one number lasts for.  Every 8-bit float needs its scale:
    modules a method leaves alone are stored in 16 bits.
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
            result[weight] = scaled(tensors[weight], tensor, block(tensors[weight], tensor))
            with_scale.add(weight)
    bare = next((name for name, tensor in result.items() if is_fp8(tensor) and name not in with_scale), None)
    if bare is not None:
        end, weight = next(iter(pairs.items()))
        message = f"is {tensors[bare].dtype} without its scale: there is no '{bare.removesuffix(weight)}{end}'"
        raise FormatError(message, tensor=bare, hint=BARE)
    return result


def is_fp8(tensor: LazyTensor | None) -> bool:
    return tensor is not None and tensor.dtype in FLOATS8


def fitting(weight: LazyTensor, scale: LazyTensor, block: Sequence[int] | None) -> Sequence[int] | None:
    """The block size, except for a scale with fewer dimensions, which belongs to channels or the tensor."""
    return block if block is not None and len(scale.shape) >= len(block) else None
