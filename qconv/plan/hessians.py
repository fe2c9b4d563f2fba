"""Which tensors of a plan are rounded by a Hessian."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from qconv import blocks, calibration, policy
from qconv.calibration import TensorHessian
from qconv.errors import FormatError, InputError
from qconv.tensors import LazyTensor

_NAMED = 8
"""Tensors named in a note; the rest are counted."""


class TensorHessians:
    """The Hessians at a place, handed out to a model's tensors; raises InputError and FormatError."""

    def __init__(self, place: Path) -> None:
        self._hessians = calibration.read_hessians(place)

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
            chosen[d.name] = hessian
        return chosen

    def notes(self, decisions: Sequence[policy.Decision], chosen: Collection[str]) -> tuple[str, ...]:
        """Names the tensors that have none."""
        missing = [d.name for d in _compensable(decisions) if d.name not in chosen]
        if not missing:
            return ()
        named = ", ".join(missing[:_NAMED]) + (f", and {len(missing) - _NAMED} more" if len(missing) > _NAMED else "")
        return (f"rounded to nearest, as there is no Hessian: {named}",)


def _compensable(decisions: Sequence[policy.Decision]) -> list[policy.Decision]:
    return [d for d in decisions if d.encodes and d.type in blocks.encodable() and blocks.can_compensate(d.type)]
