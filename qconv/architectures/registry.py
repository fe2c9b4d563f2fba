"""Names tables may use: derivations, conditions, operations, makers, renames.

Each is a Python function registered under its own name by a decorator.  The modules of ``derivations/`` and
``operations/`` are all loaded with the first lookup.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar

from qconv.errors import TableError

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


def operation(function: F) -> F:
    """``function(recipe, *arguments) -> Recipe``, applied to each source."""
    return _register("operation", function)


def combination(function: F) -> F:
    """``function(recipes, *arguments) -> Recipe``: an operation on all of a tensor's sources together."""
    return _register("combination", function)


def maker(function: F) -> F:
    """``function(model) -> float32 array``: a tensor that comes from the config alone; None: it is not needed."""
    return _register("maker", function)


def rename(function: F) -> F:
    """``function(name, config) -> name``: a spelling that depends on the config."""
    return _register("rename", function)


@functools.cache
def _load_all() -> None:
    for room in ("derivations", "operations"):
        package = importlib.import_module(f"qconv.architectures.{room}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")


def lookup(kind: str, name: str) -> Callable[..., Any]:
    """The function registered under ``name``; TableError naming the nearest when there is none."""
    _load_all()
    known = _registered.get(kind, {})
    if name not in known:
        near = difflib.get_close_matches(name, known, 3)
        raise TableError(f"no {kind} is called {name!r}", hint="nearest: " + ", ".join(near) if near else None)
    return known[name]


def is_known(kind: str, name: str) -> bool:
    _load_all()
    return name in _registered.get(kind, {})


def known(kind: str) -> dict[str, Callable[..., Any]]:
    """All of a kind by name."""
    _load_all()
    return dict(_registered.get(kind, {}))
