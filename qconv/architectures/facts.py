"""Looks names of a table up in a model: values of the config, derivations, conditions."""

from __future__ import annotations

from typing import Any

from qconv.architectures import registry
from qconv.architectures.model import Model
from qconv.architectures.table import Argument, When


def derive(model: Model, name: str, of: tuple[Argument, ...] = ()) -> Any:
    """The derivation ``name`` of this model."""
    return registry.lookup("derivation", name)(model, *of)


def argument(model: Model, value: Argument) -> Any:
    """An operation's argument: a number as it stands, a derivation's name, or a config key."""
    if not isinstance(value, str):
        return value
    if registry.is_known("derivation", value):
        return derive(model, value)
    found = model.find(value)
    return model.number(value) if found is None else found


def holds(model: Model, when: When | None) -> bool:
    """Whether a condition of a table holds; None always does."""
    if when is None:
        return True
    if isinstance(when, str):
        return bool(registry.lookup("condition", when)(model))
    return all(_equal(model.find(key), wanted) for key, wanted in when.items())


def _equal(value: Any, wanted: Any) -> bool:
    return value in wanted if isinstance(wanted, list) else bool(value == wanted)
