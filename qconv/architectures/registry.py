"""Names tables may use: derivations, conditions, operations, makers, renames.

Each is a Python function registered under its own name by a decorator.  The modules of ``derivations/`` are all loaded
with the first lookup; operations on tensors are those of ``qconv.tensors``.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from qconv import tensors
from qconv.errors import TableError, nearest

F = TypeVar("F", bound=Callable[..., Any])

_registered: dict[str, dict[str, Callable[..., Any]]] = {}


def _register(kind: str, function: F) -> F:
    name = function.__name__
    known = _registered.setdefault(kind, {})
    if name in known and known[name].__module__ != function.__module__:
        raise TableError(f"{kind} {name} is defined in {known[name].__module__} and in {function.__module__}")
    known[name] = function
    return function


def derivation(function: F) -> F:
    """``function(model, *of)`` gives a metadata or config value or an operation's argument; None: no value."""
    return _register("derivation", function)


def condition(function: F) -> F:
    """``function(model) -> bool``."""
    return _register("condition", function)


def maker(function: F) -> F:
    """``function(model) -> float32 array``: a tensor that comes from the config alone; None: it is not needed."""
    return _register("maker", function)


def rename(function: F) -> F:
    """``function(name, config) -> name``: a spelling that depends on the config."""
    return _register("rename", function)


@functools.cache
def _load_derivations() -> None:
    package = importlib.import_module("qconv.architectures.derivations")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def known(kind: str) -> Mapping[str, Callable[..., Any]]:
    """All of a kind by name."""
    if kind == "operation":
        return tensors.operations()
    if kind == "combination":
        return tensors.combinations()
    _load_derivations()
    return _registered.get(kind, {})


def is_known(kind: str, name: str) -> bool:
    return name in known(kind)


def lookup(kind: str, name: str) -> Callable[..., Any]:
    """The function registered under ``name``; TableError naming the nearest when there is none."""
    functions = known(kind)
    if name not in functions:
        near = nearest(name, functions, most=3, least_alike=0.6)
        raise TableError(f"no {kind} is called {name!r}", hint="nearest: " + ", ".join(near) if near else None)
    return functions[name]
