"""Classes that llama.cpp converts and qconv does not: ``formats/not_converted.toml``."""

from __future__ import annotations

import functools

import msgspec

from qconv.formats import ROOT, load
from qconv.storage import Folder


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why ``classes`` are not converted.  ``beside``: files that tell them, whatever ``config.json`` says."""

    classes: tuple[str, ...]
    reason: str
    beside: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reasons: tuple[Reason, ...]


@functools.cache
def _file() -> _File:
    return load(ROOT / "not_converted.toml", _File)


@functools.cache
def not_converted() -> dict[str, str]:
    """The reason by class."""
    return {cls: row.reason for row in _file().reasons for cls in row.classes}


def told_by_files(folder: Folder) -> str | None:
    """The class a checkpoint has by the files beside its ``config.json``; None where they tell nothing."""
    rows = (row for row in _file().reasons if row.beside)
    return next((row.classes[0] for row in rows if all(map(folder.has, row.beside))), None)
