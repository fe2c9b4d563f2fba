"""Losses: what a tensor's block type is predicted to cost, in nats of KL divergence a token.

To first order in the errors' squares, KL divergence adds up over tensors, and each one's share is proportional to the
mean squared change of its outputs, tr(ΔW H ΔWᵀ) with H = E[x xᵀ].  H's diagonal is the importance matrix; it is enough
to tell types apart.  The factor, a tensor's sensitivity, is measured by disturbing this tensor alone.

To multiply with blocks, llama.cpp rounds a tensor's inputs to 8 bits on a processor, with one scale for as many columns
as a block has: for K-quants 256, in which one large activation makes the others coarse.  That changes outputs too, by
Σ_c min(E[step²] / 12, E[x_c²]) · Σ_r w[r, c]² with step = max |x| / 127 over the block that c is in, whatever the
weights' error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from qconv import policy
from qconv.allocation.errors import ErrorTable
from qconv.allocation.table import table
from qconv.calibration import Measurements
from qconv.formats import block_types
from qconv.runtime import PEAK_COLUMNS


@dataclass(frozen=True, slots=True)
class Losses:
    """Predictions from errors and, where there are any, measurements of the same model."""

    errors: ErrorTable
    measurements: Measurements | None
    roles: Mapping[str, int]
    """How many tensors of each role share what is typical of it."""
    _of_inputs: dict[tuple[str, int], float] = field(default_factory=dict, init=False, repr=False, compare=False)
    """By tensor and width of blocks, once they are known: many choices ask for the same."""

    @property
    def measured(self) -> bool:
        return self.measurements is not None and bool(self.measurements.sensitivities)

    def predicted(self, name: str, block_type: str) -> float:
        """The expected loss."""
        return self._slope(name, 0.0) * self._error(name, block_type)

    def cautious(self, name: str, block_type: str) -> float:
        """The loss with a sensitivity larger by its standard error, so that what is known badly is not starved."""
        return self._slope(name, 1.0) * self._error(name, block_type)

    def total(self, types: Iterable[tuple[str, str]]) -> float:
        """Of a whole file: tensors and their block types."""
        return sum(self.predicted(name, block_type) for name, block_type in types)

    def of_weights(self, types: Iterable[tuple[str, str]]) -> float:
        """The part of ``total`` that rounding the weights costs, before it is scaled."""
        return sum(self._slope(name, 0.0) * self.errors.errors.get((name, type_), 0.0) for name, type_ in types)

    def of_inputs(self, types: Iterable[tuple[str, str]]) -> float:
        """The part of ``total`` that rounding the tensors' inputs costs."""
        return sum(self._slope(name, 0.0) * self._input_error(name, type_) for name, type_ in types)

    def _error(self, name: str, block_type: str) -> float:
        scale = self.measurements.scale if self.measurements is not None and self.measured else 1.0
        return scale * self.errors.errors.get((name, block_type), 0.0) + self._input_error(name, block_type)

    def _input_error(self, name: str, block_type: str) -> float:
        """What rounding the tensor's inputs changes."""
        key = name, block_types()[block_type].weights
        if key not in self._of_inputs:
            self._of_inputs[key] = self._input_error_of_width(*key)
        return self._of_inputs[key]

    def _input_error_of_width(self, name: str, width: int) -> float:
        peaks = None if self.measurements is None else self.measurements.peaks.get(name)
        squares = self.errors.columns.get(name)
        if peaks is None or squares is None or width not in PEAK_COLUMNS:
            return 0.0
        columns = len(squares)
        widths = [w for w in PEAK_COLUMNS if columns % w == 0]
        if width not in widths or len(peaks) != sum(columns // w for w in widths):
            return 0.0
        start = sum(columns // w for w in widths if w < width)
        steps = peaks[start : start + columns // width].astype(np.float64) / 127**2
        errors = np.repeat(steps / 12, width)
        importance = self.errors.importances.get(name)
        if importance is not None:  # what is smaller than a step becomes nothing
            errors = np.minimum(errors, importance.mean(axis=0))
        return float(errors @ squares)

    def _slope(self, name: str, deviations: float) -> float:
        energy = self.errors.energies.get(name, 0.0)
        if self.measurements is not None:
            s = self.measurements.sensitivities.get(name)
            if s is not None and s.disturbance > 0:
                return (max(0.0, s.kl) + deviations * s.deviation) / s.disturbance
        typical = table().typical
        role = policy.role(name)
        return typical.get(role, typical["other"]) / (energy * max(1, self.roles.get(role, 1))) if energy > 0 else 0.0
