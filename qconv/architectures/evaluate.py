"""Looks names of a table up in a model: values of the config, derivations, conditions, makers.

A config comes from anywhere: what a derivation trips over in it becomes an error that says which one it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from qconv.architectures import registry
from qconv.architectures.model import ModelContext
from qconv.architectures.schema import Argument, When
from qconv.errors import PlanError, TableError

_TRIPS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def ask(function: Callable[..., Any], model: ModelContext, *of: Any) -> Any:
    """``function(model, *of)``; PlanError when the config is not what the function takes it for."""
    try:
        return function(model, *of)
    except _TRIPS as e:
        raise _misfit(model, function, e) from e


def renamed(model: ModelContext, name: str, function: Callable[..., str]) -> str:
    """A source's name by a table's rename ``function``; PlanError as ``ask``."""
    try:
        return function(name, model.config)
    except _TRIPS as e:
        raise _misfit(model, function, e) from e


def _misfit(model: ModelContext, function: Callable[..., Any], error: Exception) -> PlanError:
    return PlanError(f"config.json does not fit {model.table}: {function.__name__}: {error}", file=model.location)


def derive(model: ModelContext, name: str, of: tuple[Argument, ...] = ()) -> Any:
    """The derivation ``name`` of this model."""
    return ask(registry.lookup("derivation", name), model, *of)


def count(model: ModelContext, name: str, layer: int | str | None = None) -> int:
    """The derivation ``name``, which must count something of this model, or of each layer; else TableError."""
    number = derive(model, name)
    if isinstance(number, list) and isinstance(layer, int) and 0 <= layer < len(number):
        number = number[layer]
    if not isinstance(number, int):
        raise TableError(f"{model.table}: the derivation '{name}' gives {number!r}, which is not a count")
    return number


def numbers(model: ModelContext, name: str) -> list[int]:
    """The derivation ``name``, which must list numbers of layers; else TableError."""
    listed = derive(model, name)
    if not isinstance(listed, list) or not all(isinstance(number, int) for number in listed):
        raise TableError(f"{model.table}: the derivation '{name}' gives {listed!r}, which is no list of layers")
    return listed


def layers(model: ModelContext, name: str) -> Sequence[int | str]:
    """The derivation ``name``, which counts layers or lists what they are called; else TableError."""
    listed = derive(model, name)
    return listed if isinstance(listed, list) else range(count(model, name))


def make(model: ModelContext, name: str) -> Any:
    """What the maker ``name`` computes for this model; PlanError when that is not finite."""
    with np.errstate(all="ignore"):
        data = ask(registry.lookup("maker", name), model)
    if data is not None and not np.isfinite(data).all():
        what = f"config.json does not fit {model.table}: {name} would be infinite or no numbers"
        raise PlanError(what, file=model.location, hint="take config.json from the original model")
    return data


def argument(model: ModelContext, value: Argument) -> int | float:
    """An operation's argument: a number as it stands, a derivation's name, or a config key."""
    if not isinstance(value, str):
        return value
    evaluated = derive(model, value) if registry.is_known("derivation", value) else model.number(value)
    if isinstance(evaluated, float) and evaluated.is_integer():
        return int(evaluated)
    if isinstance(evaluated, int | float) and not isinstance(evaluated, bool):
        return evaluated
    raise model.lacks([value], evaluated, "a number")


def holds(model: ModelContext, when: When | None) -> bool:
    """Whether a condition of a table holds; None always does."""
    if when is None:
        return True
    if isinstance(when, str):
        return bool(ask(registry.lookup("condition", when), model))
    return all(_equal(model.find(key), wanted) for key, wanted in when.items())


def _equal(value: Any, wanted: Any) -> bool:
    return value in wanted if isinstance(wanted, list) else bool(value == wanted)
