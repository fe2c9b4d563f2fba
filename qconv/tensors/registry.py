"""Names tables may use for operations on tensors.

Each is a Python function registered under its own name by a decorator; ``qconv.architectures`` looks them up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from qconv.errors import TableError

F = TypeVar("F", bound=Callable[..., Any])

operations: dict[str, Callable[..., Any]] = {}
combinations: dict[str, Callable[..., Any]] = {}


def operation(function: F) -> F:
    """``function(tensor, *arguments) -> LazyTensor``, applied to each source."""
    return register(operations, function)


def combination(function: F) -> F:
    """``function(tensors, *arguments) -> LazyTensor``: an operation on all of a tensor's sources together."""
    return register(combinations, function)


def register(known: dict[str, Callable[..., Any]], function: F) -> F:
    """Adds ``function`` under its name, which no other module may have given to one of its kind."""
    name = function.__name__
    if name in known and known[name].__module__ != function.__module__:
        raise TableError(f"{name} is defined in {known[name].__module__} and in {function.__module__}")
    known[name] = function
    return function
