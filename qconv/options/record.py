"""Conversion options as a manifest has them, and back."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qconv import storage
from qconv.errors import FormatError, UsageError
from qconv.options.adapter import AdapterOption
from qconv.options.convert import ConvertOptions


def to_manifest(options: ConvertOptions) -> dict[str, Any]:
    """The options that were given; files by their absolute paths.

    The manifest says the type itself; what changes no byte is left out.
    """
    given = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.metadata.get("recorded", True) and value != field.default:
            given[field.name] = str(value.absolute()) if isinstance(value, Path) else value
    if options.adapter:
        given["adapter"] = tuple(str(AdapterOption(_absolute(a.path), a.weight)) for a in options.adapters)
    if options.base is not None:
        given["base"] = _absolute(options.base)
    if options.target is not None:
        given["target"] = _absolute(options.target)
    if options.imatrix is not None:
        given["imatrix_name"] = options.imatrix_name or str(options.imatrix)  # the output holds it
    return given


def from_manifest(recorded: Mapping[str, Any], mix: str, file: Path) -> ConvertOptions:
    """The options that the manifest ``file`` records, for the type ``mix``.

    Raises FormatError for an option that is none, or a value that is none of its type.
    """
    unrecorded = {f.name for f in dataclasses.fields(ConvertOptions) if not f.metadata.get("recorded", True)}
    unrecorded -= {"sizes", "mmproj"}  # which a manifest has of its own file alone
    wrong = next((name for name in recorded if name in unrecorded), None)
    if wrong is not None:
        raise FormatError(f"records an option '{wrong}', which manifests do not", file=file)
    try:
        typed = {} if {"mix", "sizes", "mmproj"} & recorded.keys() else {"types": (mix,)}
        return ConvertOptions.of({**typed, **recorded})
    except UsageError as e:
        raise FormatError(f"records an option that cannot be: {e}", file=file) from e


def _absolute(place: str) -> str:
    """The whole path of what is on this machine, an address without secrets, a name of the Hub as it is."""
    if storage.is_address(place):
        return storage.shown(place)
    return os.path.abspath(place) if os.path.exists(place) else place
