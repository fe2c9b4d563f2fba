"""From a table's entry and source tensors to a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qconv.architectures import facts, registry
from qconv.architectures.model import ModelContext
from qconv.architectures.operations.base import NUMPY_TYPES, Source, refuse
from qconv.architectures.table import Entry
from qconv.errors import PlanError, TableError
from qconv.types import Recipe, TensorInfo

_CARRIED = ("F32", "F16", "BF16")
_FLOAT8 = ("F8_E4M3", "F8_E5M2", "F8_E8M0")


def recipe(
    model: ModelContext, entry: Entry, found: Sequence[Sequence[str]], infos: Mapping[str, TensorInfo]
) -> Recipe:
    """``found``: for each of the entry's sources the tensors it stands for, several where experts are stacked."""
    state: list[Recipe] = []
    for names in found:
        parts: list[Recipe] = [Source(infos[name]) for name in names]
        stack = len(parts) > 1 or stacked(entry)
        state.append(registry.lookup("combination", "stack")(parts) if stack else parts[0])
    for step in entry.do:
        state = _applied(model, step, state)
    if len(state) != 1:
        raise TableError(f"{len(state)} tensors are left of {entry.from_}: no operation combines them")
    return _plain(state[0])


def _applied(model: ModelContext, step: object, state: list[Recipe]) -> list[Recipe]:
    """One operation on each recipe, or on all together; PlanError when their shapes are not what it is for."""
    name, arguments = _step(model, step)
    try:
        if registry.is_known("combination", name):
            return [registry.lookup("combination", name)(state, *arguments)]
        function = registry.lookup("operation", name)
        return [function(part, *arguments) for part in state]
    except IndexError as e:
        raise refuse(name, state[0], "it has too few dimensions") from e
    except (ArithmeticError, LookupError, TypeError, ValueError) as e:
        raise refuse(name, state[0], str(e)) from e


def stacked(entry: Entry) -> bool:
    """Whether an entry stacks the tensors of experts."""
    sources = (entry.from_,) if isinstance(entry.from_, str) else entry.from_ or ()
    return any("{expert}" in source for source in sources)


def _step(model: ModelContext, step: object) -> tuple[str, tuple[object, ...]]:
    if isinstance(step, str):
        return step, ()
    if not isinstance(step, dict) or len(step) != 1:
        raise TableError(f"an operation has one name, this has not: {step!r}")
    name, given = next(iter(step.items()))
    values = given if isinstance(given, tuple | list) else (given,)
    return name, tuple(facts.argument(model, value) for value in values)


def carried(info: TensorInfo) -> Recipe:
    """A tensor as it stands; integers and F64 become F32, as in llama.cpp.

    PlanError: 8-bit floats, which are no weights without their scales.
    """
    return _plain(Source(info))


def _plain(result: Recipe) -> Recipe:
    if result.dtype in _CARRIED or result.dtype not in (*NUMPY_TYPES, *_FLOAT8):
        return result
    if result.dtype in _FLOAT8:
        raise PlanError(f"is {result.dtype} without scales that are known", tensor=result.sources[0])
    widened: Recipe = registry.lookup("operation", "widen")(result)
    return widened
