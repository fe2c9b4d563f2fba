"""From the two matrices of an adapter's module to their product, in each of the layouts they are stored in."""

from __future__ import annotations

import math
from typing import TypeAlias

from qconv.adapters.config import AdapterConfig
from qconv.adapters.modules import Module
from qconv.errors import FormatError
from qconv.tensors import LazyTensor
from qconv.tensors.low_rank import Factor, LowRank
from qconv.types import shape_text

Factors: TypeAlias = tuple[Factor, Factor]

LARGEST_RANK = 1 << 16


def pair(module: Module) -> tuple[LazyTensor, LazyTensor, bool]:
    """The two matrices A and B of a module, and whether they belong to an embedding; FormatError when one lacks."""
    for a, b in (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B"), ("lora_a", "lora_b")):
        if a in module.parts or b in module.parts:
            for part, other in ((a, b), (b, a)):
                if part not in module.parts:
                    message = f"is there without its '{part}'"
                    raise FormatError(message, tensor=module.parts[other].sources[0])
            return module.parts[a], module.parts[b], a == "lora_embedding_A"
    message = "changes a module of which there are no low-rank matrices"
    raise FormatError(message, tensor=next(iter(module.parts.values())).sources[0])


def product(
    module: Module, config: AdapterConfig, shape: tuple[int, ...], weight: float, *, inputs_first: bool = False
) -> LowRank | None:
    """What the module's matrices add to a tensor of ``shape``, ``weight`` times; None when they do not fit it.

    PEFT (``lora/layer.py``): A ``(r, in)`` and B ``(out, r)``; of embeddings ``(r, tokens)`` and ``(width, r)``; of
    convolutions with more dimensions behind.  MLX (``mlx_lm/tuner/lora.py``): a ``(in, r)`` and b ``(r, out)``; of
    experts ``(experts, r, in)`` and ``(experts, out, r)``.  ``inputs_first``: how the model stores square experts.
    """
    a, b, is_embedding = pair(module)
    if len(shape) == 2:
        factors = (
            _mlx_matrix(a, b, shape) if config.is_mlx else _matrix(a, b, shape, is_embedding or config.is_transposed)
        )
    elif config.is_mlx:
        factors = _mlx_experts(a, b, shape)
    else:
        factors = _convolution(a, b, shape) or _experts(a, b, shape, inputs_first)
    return None if factors is None else _scaled(factors, module, config, shape, weight)


def expert_product(
    module: Module, config: AdapterConfig, expert: int, experts: int, rows: tuple[int, int], weight: float
) -> LowRank | None:
    """The part of ``product`` that belongs to ``rows`` of one expert's own matrix, (out, in)."""
    a, b, _ = pair(module)
    one, order = (expert, expert + 1), (0, 1, 2)
    if config.is_mlx:
        if not len(a.shape) == len(b.shape) == 3 or not a.shape[0] == b.shape[0] == experts:
            return None
        rank, columns, most = a.shape[1], a.shape[2], b.shape[1]
        left = Factor(b, b.shape, order, (one, rows, (0, b.shape[2])))
        right = Factor(a, a.shape, order, (one, (0, rank), (0, columns)))
    else:
        if not len(a.shape) == len(b.shape) == 2 or a.shape[0] != b.shape[1] or a.shape[0] % experts:
            return None
        rank, columns, most = a.shape[0] // experts, a.shape[1], b.shape[0]
        left = Factor(b, (most, rank, experts), (2, 0, 1), (rows, (0, rank), one))
        right = Factor(a, (experts, rank, columns), order, (one, (0, rank), (0, columns)))
    if not 0 <= rows[0] < rows[1] <= most:
        return None
    return _scaled((left, right), module, config, (rows[1] - rows[0], columns), weight)


def _scaled(
    factors: Factors, module: Module, config: AdapterConfig, shape: tuple[int, ...], weight: float
) -> LowRank | None:
    left, right = factors
    groups, rows, rank = left.shape
    if right.shape[:2] != (groups, rank) or groups * rows * right.shape[2] != math.prod(shape):
        return None
    if not 0 < rank <= LARGEST_RANK:
        what = shape_text(left.tensor.shape)
        raise FormatError(f"has a rank of {rank} in {what}", tensor=left.tensor.sources[0])
    return LowRank(left, right, config.strength(module.name, rank) * weight, shape)


def _plain(tensor: LazyTensor) -> Factor:
    """A matrix as it stands."""
    return Factor(tensor, (1, *tensor.shape), (0, 1, 2))


def _turned(tensor: LazyTensor) -> Factor:
    """A matrix with rows and columns exchanged."""
    return Factor(tensor, (1, *tensor.shape), (0, 2, 1))


def _matrix(a: LazyTensor, b: LazyTensor, shape: tuple[int, ...], is_transposed: bool) -> Factors | None:
    if not len(a.shape) == len(b.shape) == 2:
        return None
    if is_transposed:
        return (_turned(a), _turned(b)) if (a.shape[1], b.shape[0]) == shape else None
    return (_plain(b), _plain(a)) if (b.shape[0], a.shape[1]) == shape else None


def _mlx_matrix(a: LazyTensor, b: LazyTensor, shape: tuple[int, ...]) -> Factors | None:
    """Of a linear layer, or of an embedding: the shape tells which."""
    if not len(a.shape) == len(b.shape) == 2:
        return None
    if (b.shape[1], a.shape[0]) == shape:
        return _turned(b), _turned(a)
    return (_plain(a), _plain(b)) if (a.shape[0], b.shape[1]) == shape else None


def _convolution(a: LazyTensor, b: LazyTensor, shape: tuple[int, ...]) -> Factors | None:
    if not len(a.shape) == len(b.shape) == len(shape):
        return None
    if a.shape[1:] != shape[1:] or b.shape != (shape[0], a.shape[0], *(1 for _ in shape[2:])):
        return None
    left = Factor(b, (1, b.shape[0], b.shape[1]), (0, 1, 2))
    return left, Factor(a, (1, a.shape[0], math.prod(a.shape[1:])), (0, 1, 2))


def _experts(a: LazyTensor, b: LazyTensor, shape: tuple[int, ...], inputs_first: bool) -> Factors | None:
    """``target_parameters``: A ``(experts * r, in)``, B ``(out, r * experts)``, whose last axis counts the experts.

    Parameters are ``(experts, out, in)``, or ``(experts, in, out)``; where both sizes are one, the model's code tells.
    """
    if not len(a.shape) == len(b.shape) == 2 or len(shape) != 3 or a.shape[0] != b.shape[1]:
        return None
    experts, first, second = shape
    if not experts or a.shape[0] % experts:
        return None
    rank = a.shape[0] // experts
    grid_a, grid_b = (experts, rank, a.shape[1]), (b.shape[0], rank, experts)
    if (b.shape[0], a.shape[1]) == (first, second) and not (inputs_first and first == second):
        return Factor(b, grid_b, (2, 0, 1)), Factor(a, grid_a, (0, 1, 2))
    if (a.shape[1], b.shape[0]) == (first, second):
        return Factor(a, grid_a, (0, 2, 1)), Factor(b, grid_b, (2, 1, 0))
    return None


def _mlx_experts(a: LazyTensor, b: LazyTensor, shape: tuple[int, ...]) -> Factors | None:
    if len(shape) != 3 or not len(a.shape) == len(b.shape) == 3:
        return None
    experts, rows, columns = shape
    if a.shape[::2] != (experts, columns) or b.shape[:2] != (experts, rows):
        return None
    return Factor(b, b.shape, (0, 1, 2)), Factor(a, a.shape, (0, 1, 2))
