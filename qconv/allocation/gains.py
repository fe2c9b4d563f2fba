"""What rounding by Hessians gains: for each block type, what share of ordinary rounding's error is left.

The share depends on the type and on how inputs go together, and little on which tensor of a model it is.  So a few
tensors are looked at, a tile of rows of each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qconv import blocks
from qconv.calibration import TensorHessian, squared_error
from qconv.plan import dequantized
from qconv.policy import Decision
from qconv.tensors import LazyTensor, as_float32, convert, rounds

_TENSORS = 6
_LEAST = 1e-3
"""Of an error, which is not expected to vanish."""


def gains(
    decisions: Sequence[Decision],
    menus: Mapping[str, Sequence[str]],
    tensors: Mapping[str, LazyTensor],
    hessians: Mapping[str, TensorHessian],
    importances: Mapping[str, NDArray[np.float32]],
    *,
    search: str = "reference",
) -> dict[str, float]:
    """By block type the mean ratio of ΔW H ΔWᵀ with and without, 1 and less; of types in ``menus`` alone.

    ``hessians``, ``importances`` by tensor.  Raises what reading and encoding raise.
    """
    ratios: dict[str, list[float]] = {}
    for d in _spread([d for d in decisions if d.name in hessians]):
        hessian = hessians[d.name]
        rows = first_tile(dequantized(tensors[d.name], d.type), d.intermediate_type, hessian.matrices)
        factor = hessian.factor(0)
        importance = importances[d.name][0] if d.name in importances else factor.importance
        for block_type in menus.get(d.name, ()):
            if not blocks.can_compensate(block_type):
                continue
            ordinary = blocks.EncodeContext(search, importance)
            compensated = blocks.EncodeContext(search, importance, factor)
            before, after = (
                squared_error(rounding(block_type, rows, context), hessian.panels(0))
                for context in (ordinary, compensated)
            )
            if before > 0:
                ratios.setdefault(block_type, []).append(max(_LEAST, min(1.0, after / before)))
    return {t: math.exp(sum(map(math.log, each)) / len(each)) for t, each in ratios.items()}


def _spread(decisions: Sequence[Decision]) -> Iterator[Decision]:
    count = min(_TENSORS, len(decisions))
    for place in range(count):
        yield decisions[(2 * place + 1) * len(decisions) // (2 * count)]


def first_tile(tensor: LazyTensor, intermediate_type: str, matrices: int = 1) -> NDArray[np.float32]:
    """The first tile of rows of a tensor's first matrix, as an encoder gets them."""
    total = math.prod(tensor.shape[:-1]) // matrices
    prepared = tensor.prepare()
    rows = prepared.read(0, min(total, blocks.TILE_ROWS))
    kind = tensor.dtype
    if rounds(kind, intermediate_type):
        rows, kind = convert(rows, kind, intermediate_type), intermediate_type
    return np.ascontiguousarray(as_float32(np.ascontiguousarray(rows), kind))


def rounding(block_type: str, rows: NDArray[np.float32], context: blocks.EncodeContext) -> NDArray[np.float32]:
    """What encoding changes of rows."""
    return rows - blocks.decode(block_type, blocks.encode(block_type, rows, context=context))
