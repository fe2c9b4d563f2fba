"""Which tensors of a base an adapter's matrices belong to, and what they add to each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import TypeAlias

from qconv.adapters.modules import Adapter, Module
from qconv.adapters.names import BaseNames
from qconv.adapters.products import expert_product, pair, product
from qconv.checkpoints import Checkpoint
from qconv.errors import PlanError
from qconv.tensors.low_rank import LowRank
from qconv.types import shape_text

Edits: TypeAlias = list[tuple[str, LowRank]]
"""Names of tensors, and what is added to each."""

_INPUTS_FIRST = ("gpt_oss", "aria", "aria_text")
"""Models whose experts' parameters are (experts, inputs, outputs)."""
_PARAMETER_ORDER = ("gate_up_proj", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3")
"""Parameters of experts in the order in which models define them, and PEFT wraps them one around the other."""
_MOST_PARAMETERS = 5


class Targets:
    """The tensors of ``base`` that modules of ``adapter`` change, ``weight`` times as strongly as it was trained."""

    def __init__(self, base: Checkpoint, adapter: Adapter, names: BaseNames, weight: float) -> None:
        self._base = base
        self._adapter = adapter
        self._names = names
        self._weight = weight

    def of_tensor(self, module: Module, target: str) -> LowRank:
        """What a module adds to one tensor; PlanError when it does not fit it."""
        shape = self._names.shape(target)
        delta = self._product(module, shape)
        if delta is None:
            own = " and ".join(shape_text(tensor.shape) for tensor in pair(module)[:2])
            raise misfit(self._base, self._adapter, f"its {own} for '{module.name}' make no {shape_text(shape)}")
        return delta

    def of_parameters(self, modules: Sequence[Module]) -> Edits | None:
        """What changes of one module's ``target_parameters`` add, the outermost first; None when they do not fit.

        A file does not say which of the parameters each belongs to: their shapes do, or the order of wrapping.  MLX has
        a module for each of them, ``switch_mlp.gate_proj``.
        """
        if self._adapter.config.is_mlx:
            holder, _, name = modules[0].name.rpartition(".")
            experts = self._names.experts(holder.replace(".switch_mlp", ".experts"), name)
            return None if experts is None else self._expert_edits(modules[0], experts)
        parameters = self._parameters(modules[0].name)
        if len(parameters) != len(modules) or len(modules) > _MOST_PARAMETERS:
            return None
        for order in permutations(parameters):
            edits = [self._edits(module, name) for module, name in zip(reversed(modules), order, strict=True)]
            if all(each is not None for each in edits):
                return [edit for each in edits for edit in each or ()]
        return None

    def _parameters(self, module: str) -> list[str]:
        """The ``target_parameters`` of a module, in the order in which they were wrapped."""
        given = self._adapter.config.values.get("target_parameters")
        names = {each for each in given if isinstance(each, str)} if isinstance(given, list) else set()
        of_module = set()
        for each in names:
            holder, dot, parameter = each.rpartition(".")
            if not dot or module == holder or module.endswith(f".{holder}"):
                of_module.add(parameter)
        there = [name for name in sorted(of_module) if self._has(module, name)]
        known = _PARAMETER_ORDER
        return sorted(there, key=lambda name: known.index(name) if name in known else len(known))

    def _has(self, module: str, parameter: str) -> bool:
        return self._names.find(f"{module}.{parameter}") is not None or bool(self._names.experts(module, parameter))

    def _edits(self, module: Module, parameter: str) -> Edits | None:
        """What is added to which tensors for one parameter; None when it does not fit."""
        named = Module(f"{module.name}.{parameter}", module.depth, module.parts)
        target = self._names.find(named.name)
        if target is not None:
            delta = self._product(named, self._names.shape(target))
            return None if delta is None else [(target, delta)]
        experts = self._names.experts(module.name, parameter)
        return None if experts is None else self._expert_edits(named, experts)

    def _expert_edits(self, module: Module, experts: Sequence[Sequence[str]]) -> Edits | None:
        """The same for a base that keeps each expert by itself, and gate and up apart."""
        edits: Edits = []
        for number, targets in enumerate(experts):
            row = 0
            for target in targets:
                shape = self._names.shape(target)
                rows = (row, row + (shape[0] if shape else 0))
                delta = expert_product(module, self._adapter.config, number, len(experts), rows, self._weight)
                if delta is None or delta.shape != shape:
                    return None
                edits.append((target, delta))
                row = rows[1]
        return edits

    def _product(self, module: Module, shape: tuple[int, ...]) -> LowRank | None:
        inputs_first = (self._base.config or {}).get("model_type") in _INPUTS_FIRST
        return product(module, self._adapter.config, shape, self._weight, inputs_first=inputs_first)


def misfit(base: Checkpoint, adapter: Adapter, why: str) -> PlanError:
    """The error for an adapter of another base."""
    own = adapter.config.base
    return PlanError(
        f"does not fit the base {base.location}: {why}",
        file=adapter.location,
        hint=f"give the model it was trained on{f', {own}' if own else ''}",
    )
