"""Losses: what a tensor's block type is predicted to cost, in nats of KL divergence a token.

To first order in the errors' squares, KL divergence adds up over tensors, and each one's share is proportional to the
mean squared change of its outputs, tr(ΔW H ΔWᵀ) with H = E[x xᵀ].  H's diagonal is the importance matrix; it is enough
to tell types apart.  The factor, a tensor's sensitivity, is measured by disturbing this tensor alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qconv import policy
from qconv.allocation.errors import ErrorTable
from qconv.allocation.table import table
from qconv.calibration import Measurements


@dataclass(frozen=True, slots=True)
class Losses:
    """Predictions from errors and, where there are any, measurements of the same model."""

    errors: ErrorTable
    measurements: Measurements | None
    tensors: int
    """How many tensors there are to share what is typical of a model."""

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
        floor = self.measurements.floor if self.measurements is not None and self.measured else 0.0
        return floor + sum(self.predicted(name, block_type) for name, block_type in types)

    def _error(self, name: str, block_type: str) -> float:
        return self.errors.errors.get((name, block_type), 0.0)

    def _slope(self, name: str, deviations: float) -> float:
        energy = self.errors.energies.get(name, 0.0)
        if self.measurements is not None:
            s = self.measurements.sensitivities.get(name)
            if s is not None and s.disturbance > 0:
                return self.measurements.scale * (max(0.0, s.kl) + deviations * s.deviation) / s.disturbance
        typical = table().typical
        role = policy.role(name)
        return typical.get(role, typical["other"]) / (energy * max(1, self.tensors)) if energy > 0 else 0.0
