"""Sensitivities: one tensor at a time is rounded to about 3 bits, and the change of the model's output measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qconv import blocks
from qconv.allocation import disturbance_type
from qconv.calibration import Sensitivity
from qconv.plan import dequantized
from qconv.policy import Decision
from qconv.runtime import KeptReference, Session
from qconv.tensors import FLOATS, LazyTensor, as_float32, columns, n_rows
from qconv.types import TensorInfo

Floats = NDArray[np.float32]

_BLOCK = 1 << 22
"""Weights replaced at a time."""


def sensitivities(
    session: Session,
    reference: KeptReference,
    decisions: Sequence[Decision],
    tensors: Mapping[str, LazyTensor],
    importances: Mapping[str, Floats],
    measured: Callable[[str, Sensitivity], None],
) -> None:
    """Measures the tensors of ``decisions`` in a writable session; ``measured`` is given each at once.

    ``reference``: the undisturbed model's outputs.  ``importances``: ``(matrices, columns)`` by name.
    """
    for d in decisions:
        info = TensorInfo(d.name, d.intermediate_type, d.shape)
        disturbed = _Disturbed(info, dequantized(tensors[d.name], "F32"), importances.get(d.name))
        with session.replaced(d.name, disturbed):
            divergence = session.kl_divergence(reference)
        measured(d.name, Sensitivity(divergence.mean, divergence.error, disturbed.error))


class _Disturbed:
    """A tensor's rows, disturbed; ``error``: the weighted squares of what was changed, once all are taken."""

    def __init__(self, info: TensorInfo, tensor: LazyTensor, importance: Floats | None) -> None:
        self._type, self._factor = disturbance_type(info)
        self._tensor = tensor
        self._importance = importance
        self.error = 0.0

    def __iter__(self) -> Iterator[Floats]:
        tensor = self._tensor.prepare()
        rows, self.error = n_rows(tensor), 0.0
        matrices = 1 if self._importance is None else len(self._importance)
        per_matrix = max(1, rows // matrices)
        step = max(1, _BLOCK // max(1, columns(tensor)))
        for matrix in range(matrices):
            weigh = None if self._importance is None else self._importance[matrix]
            for start in range(matrix * per_matrix, (matrix + 1) * per_matrix, step):
                stop = min(start + step, (matrix + 1) * per_matrix)
                yield self._block(as_float32(tensor.read(start, stop), tensor.dtype), weigh)

    def _block(self, weights: Floats, weigh: Floats | None) -> Floats:
        rounded = blocks.decode(self._type, blocks.encode(self._type, weights, weigh))
        change = (rounded - weights) * np.float32(self._factor)
        squares = np.einsum("ij,ij->j", change, change, dtype=np.float64, casting="same_kind")
        self.error += float(squares.sum() if weigh is None else squares @ weigh.astype(np.float64))
        return weights + change


def measurable(decisions: Sequence[Decision], session: Session) -> list[Decision]:
    """Those whose weights a budget may choose a type for, and that the runtime computes with."""
    there = session.tensors()
    return [d for d in decisions if d.free and d.encodes and d.name in there and d.intermediate_type in FLOATS]
