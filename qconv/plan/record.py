"""The options of a conversion as its manifest records them, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qconv.errors import FormatError
from qconv.plan.request import Request

_LEFT_OUT = {"types", "output", "strict"}
"""The manifest says the type itself; the others change no byte."""


def recorded(request: Request) -> dict[str, Any]:
    """The options that were given, as JSON has them; files by their absolute paths."""
    given = {}
    for field in dataclasses.fields(request):
        value = getattr(request, field.name)
        if field.name not in _LEFT_OUT and value != field.default:
            given[field.name] = str(value.absolute()) if isinstance(value, Path) else value
    if request.imatrix is not None:
        given["imatrix_name"] = request.imatrix_name or str(request.imatrix)  # the output holds it
    return given


def request_of(options: Mapping[str, Any], mix: str, file: Path) -> Request:
    """The request a manifest (``file``) records, for the type ``mix``."""
    known = {field.name: field for field in dataclasses.fields(Request)}
    values: dict[str, Any] = {} if "mix" in options else {"types": (mix,)}
    for name, value in options.items():
        if name not in known or name in _LEFT_OUT:
            raise FormatError(f"records an option '{name}' that is none", file=file)
        is_path = isinstance(value, str) and "Path" in str(known[name].type)
        values[name] = Path(value) if is_path else _tuples(value)
    return Request(**values)


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples they were."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
