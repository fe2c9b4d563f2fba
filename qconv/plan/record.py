"""The options of a conversion as its manifest records them, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

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
    """The request a manifest (``file``) records, for the type ``mix``.

    Raises FormatError for an option that is none, or a value that is none of its type.
    """
    known = {field.name for field in dataclasses.fields(Request)} - _LEFT_OUT
    unknown = next((name for name in options if name not in known), None)
    if unknown is not None:
        raise FormatError(f"records an option '{unknown}' that is none", file=file)
    types = {} if "mix" in options else {"types": (mix,)}
    try:
        return msgspec.convert({**types, **options}, Request, dec_hook=_path)
    except msgspec.ValidationError as e:
        raise FormatError(f"records an option that cannot be: {e}", file=file) from e


def _path(kind: type, value: object) -> Path:
    """msgspec asks of the one type it does not know."""
    if kind is not Path or not isinstance(value, str) or "\0" in value:
        raise ValueError("Expected a path")
    return Path(value)
