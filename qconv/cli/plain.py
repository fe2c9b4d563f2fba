"""Options and arguments that are text or paths, taken as they were typed.

Typer from 0.29 on has pydantic look at every parameter, given or not.  Importing that and building a schema for each
takes a tenth of a second, as long as all else a command does before it begins.  Other versions are left to themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

_KINDS: dict[Any, type] = {str: str, Path: Path, list[str]: str, list[Path]: Path}


def make_plain(parameters: Iterable[Any]) -> None:
    """Lets Typer's parameters leave to Typer only values that are given and neither text nor paths."""
    for parameter in parameters:
        if (described := getattr(parameter, "type_descriptor", None)) is not None:
            parameter.process_value = _processing(parameter, described.annotation)


def _processing(parameter: Any, annotation: Any) -> Any:
    by_typer = parameter.process_value
    kind = _KINDS.get(annotation)
    many = parameter.multiple or parameter.nargs == -1

    def process_value(ctx: Any, value: Any) -> Any:
        if not parameter.required and (value is None or value == parameter.default):
            return value if parameter.callback is None else parameter.callback(ctx, parameter, value)
        if kind is None or not value or parameter.callback is not None:
            return by_typer(ctx, value)
        return [kind(one) for one in value] if many else kind(value)

    return process_value
