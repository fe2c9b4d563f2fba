"""From a table's entry and source tensors to a lazy tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from qconv.architectures import evaluate, registry
from qconv.architectures.model import ModelContext
from qconv.architectures.schema import Entry
from qconv.errors import PlanError, TableError
from qconv.tensors import FLOATS, FLOATS8, LazyTensor, Scaled, as_int32, is_blocks, refuse

_ONE_BY_ONE = ("one_after_another", "stack_padded")
"""Combinations that take experts, or what {expert} stands for, one by one and not as a stack: each has its rows."""


def lazy_tensor(
    model: ModelContext, entry: Entry, sources: Sequence[Sequence[str]], tensors: Mapping[str, LazyTensor]
) -> LazyTensor:
    """``sources``: for each of the entry's sources the tensors it stands for, several where experts are stacked."""
    state: list[LazyTensor] = []
    parts = [tensors[name] for names in sources for name in names]
    _refuse_empty(model, parts)
    apart = bool(entry.do) and entry.do[0] in _ONE_BY_ONE
    for names in sources:
        experts = [tensors[name] for name in names]
        stack = len(names) > 1 or stacked(entry)
        state += [registry.lookup("combination", "stack")(experts)] if stack and not apart else experts
    for step in entry.do:
        state = _applied(model, step, state)
    if len(state) != 1:
        raise TableError(f"{len(state)} tensors are left of {entry.from_}: no operation combines them")
    if entry.store in ("I32", "I64"):
        return as_int32(state[0]) if entry.store == "I32" else state[0]
    if not is_blocks(state[0].dtype):
        _refuse_integers(model, parts)
    return carried(state[0])


def stored_type(store: str | None, tensor: LazyTensor) -> str | None:
    """``store`` with "source" replaced: a type of the checkpoint's own, Q8_0 for 8-bit floats with scales."""
    if store != "source":
        return store
    return "Q8_0" if isinstance(tensor, Scaled) and tensor.inner.dtype in FLOATS8 else tensor.dtype


def _refuse_empty(model: ModelContext, parts: Sequence[LazyTensor]) -> None:
    empty = next((part for part in parts if 0 in part.shape), None)
    if empty is not None:
        raise PlanError(
            "is empty: the file was saved while its weights were spread over processes (DeepSpeed ZeRO-3)",
            file=model.location,
            tensor=empty.sources[0],
            hint="save it again with stage3_gather_16bit_weights_on_model_save, or make it with zero_to_fp32.py",
        )


def _refuse_integers(model: ModelContext, parts: Sequence[LazyTensor]) -> None:
    floats = (*FLOATS, *FLOATS8, "F64")
    integers = next((part for part in parts if not is_blocks(part.dtype) and part.dtype not in floats), None)
    if integers is not None:
        raise PlanError(
            f"is {integers.dtype}: integers are no weights, and nothing says what they stand for",
            file=model.location,
            tensor=integers.sources[0],
            hint="convert the model it was made from: look for 'base_model' on its model card",
        )


def _applied(model: ModelContext, step: object, state: list[LazyTensor]) -> list[LazyTensor]:
    """One operation on each tensor, or on all together; PlanError when their shapes are not what it is for."""
    name, arguments = step_of(model, step)
    if registry.is_known("combination", name):
        return [applied(name, registry.lookup("combination", name), state, arguments)]
    function = registry.lookup("operation", name)
    return [applied(name, function, part, arguments) for part in state]


def applied(
    name: str,
    function: Callable[..., LazyTensor],
    to: LazyTensor | Sequence[LazyTensor],
    arguments: Sequence[object],
) -> LazyTensor:
    """An operation on a tensor, or a combination of several; PlanError when their shapes are not what it is for."""
    first = to[0] if isinstance(to, Sequence) else to
    try:
        return function(to, *arguments)
    except IndexError as e:
        raise refuse(name, first, "it has too few dimensions") from e
    except (ArithmeticError, LookupError, TypeError, ValueError) as e:
        raise refuse(name, first, str(e)) from e


def stacked(entry: Entry) -> bool:
    """Whether an entry stacks the tensors of experts."""
    sources = (entry.from_,) if isinstance(entry.from_, str) else entry.from_ or ()
    return any("{expert}" in source for source in sources)


def step_of(model: ModelContext, step: object) -> tuple[str, tuple[object, ...]]:
    """The name of a table's operation, and its arguments for this model."""
    if isinstance(step, str):
        return step, ()
    if not isinstance(step, dict) or len(step) != 1:
        raise TableError(f"an operation has one name, this has not: {step!r}")
    name, given = next(iter(step.items()))
    values = given if isinstance(given, tuple | list) else (given,)
    return name, tuple(evaluate.argument(model, value) for value in values)


def carried(tensor: LazyTensor) -> LazyTensor:
    """A tensor as the GGUF file takes it; integers and F64 become F32, as in llama.cpp.

    PlanError: 8-bit floats, which are no weights without their scales.
    """
    if tensor.dtype in FLOATS or is_blocks(tensor.dtype):
        return tensor
    if tensor.dtype in FLOATS8:
        raise PlanError(f"is {tensor.dtype} without scales that are known", tensor=tensor.sources[0])
    widened: LazyTensor = registry.lookup("operation", "widen")(tensor)
    return widened
