"""The type llama.cpp's converter stores a tensor in, before anything quantizes it: ``formats/stored.toml``."""

from __future__ import annotations

import functools
import re

import msgspec

from qconv.formats import ROOT, load

_PLAIN = {0: "F32", 1: "F16", 32: "BF16"}
_LAYER = re.compile(r"^blk\.\d+\.")


class Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names always stored as F32: ``names`` without a layer's ``blk.N.``, ``ends`` parts of names."""

    names: frozenset[str]
    ends: tuple[str, ...]
    weights: tuple[str, ...]


@functools.cache
def _table() -> Stored:
    return load(ROOT / "stored.toml", Stored)


def stored_type(name: str, shape: tuple[int, ...], file_type: int, store: str | None = None) -> str:
    """The storage type of output ``name``: F32, F16 or BF16, or what ``store`` forces on it, "file" being the file's.

    ``file_type``: the intermediate file's ``general.file_type``: 0 F32, 1 F16, 32 BF16.
    """
    table = _table()
    if len(shape) <= 1 or name.endswith(table.ends):
        return "F32"
    if store is not None:
        return _PLAIN[file_type] if store == "file" else store
    if not name.endswith(table.weights) or _LAYER.sub("", name) in table.names:
        return "F32"
    return _PLAIN[file_type]
