"""Which tensors of a plan are rounded by a Hessian."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from qconv import blocks, calibration, policy
from qconv.calibration import TensorHessian
from qconv.errors import FormatError, InputError
from qconv.tensors import LazyTensor

_ABOUT = 1.01
"""Times the least error is about as good."""
_NAMED = 8
"""Tensors named in a note; the rest are counted."""


class TensorHessians:
    """The Hessians at a place, handed out to a model's tensors; raises InputError and FormatError."""

    def __init__(self, place: Path) -> None:
        self._hessians = calibration.read_hessians(place)
        self._dampings = _dampings({h.tensors[0]: h.trials for h in self._hessians.by_tensor.values()})

    def of(
        self, decisions: Sequence[policy.Decision], tensors: Mapping[str, LazyTensor]
    ) -> Mapping[str, TensorHessian]:
        """Those of tensors that are encoded as types whose rounding can go by them.

        Raises InputError when they were measured of another model, FormatError where one does not fit its tensor.
        """
        model = calibration.fingerprint((d.name, tensors[d.name], d.intermediate_type) for d in decisions)
        if model != self._hessians.model:
            raise InputError(
                "was measured on another model, or on other weights of it",
                file=self._hessians.place,
                hint="'qconv calibrate --hessians' measures this one",
            )
        chosen = {}
        for d in _compensable(decisions):
            hessian = self._hessians.by_tensor.get(d.name)
            if hessian is None:
                continue
            rows = d.weights // max(1, d.shape[-1])
            if hessian.columns != d.shape[-1] or rows % hessian.matrices:
                raise FormatError(
                    f"holds {hessian.matrices} Hessians of {hessian.columns} columns for {rows} rows of {d.shape[-1]}",
                    file=hessian.file,
                    tensor=d.name,
                )
            damping = self._dampings.get(policy.role(hessian.tensors[0]), hessian.damping)
            chosen[d.name] = replace(hessian, damping=damping)
        return chosen

    def notes(self, decisions: Sequence[policy.Decision], chosen: Collection[str]) -> tuple[str, ...]:
        """Names the tensors that have none."""
        missing = [d.name for d in _compensable(decisions) if d.name not in chosen]
        if not missing:
            return ()
        named = ", ".join(missing[:_NAMED]) + (f", and {len(missing) - _NAMED} more" if len(missing) > _NAMED else "")
        return (f"rounded to nearest, as there is no Hessian: {named}",)


def _dampings(trials: Mapping[str, Mapping[float, float]]) -> dict[str, float]:
    """By role the largest damping that does about as well, on text held out, as the best: other text is further off.

    ``trials``: by tensor and damping the errors there.
    """
    by_role: dict[str, dict[float, list[float]]] = {}
    for name, errors in trials.items():
        for damping, error in errors.items():
            by_role.setdefault(policy.role(name), {}).setdefault(damping, []).append(math.log(error))
    chosen = {}
    for role, logarithms in by_role.items():
        means = {damping: sum(each) / len(each) for damping, each in logarithms.items()}
        chosen[role] = max(d for d, mean in means.items() if mean <= min(means.values()) + math.log(_ABOUT))
    return chosen


def _compensable(decisions: Sequence[policy.Decision]) -> list[policy.Decision]:
    return [d for d in decisions if d.encodes and d.type in blocks.encodable() and blocks.can_compensate(d.type)]
