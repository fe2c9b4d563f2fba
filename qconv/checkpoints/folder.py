"""Finds the weights of a checkpoint's folder, and says what is wrong when there are none."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from qconv.checkpoints.below import models_below
from qconv.checkpoints.lookalikes import OTHER_WEIGHTS, PICKLES, refuse_pickle
from qconv.errors import FormatError, InputError, UnsupportedError
from qconv.files import inside, read_json

INDEX = "model.safetensors.index.json"
PARTS = 4096
"""Most files a checkpoint may have."""
_LARGEST_INDEX = 64 << 20
_LARGEST_CONFIG = 16 << 20
_NAMED = 3
_PART = re.compile(r"(?P<prefix>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors", re.DOTALL)


def read_config(directory: Path) -> dict[str, Any] | None:
    """``config.json`` of the directory, None when there is none.

    Raises ``FormatError`` when it is no JSON object, ``InputError`` when something else has its name.
    """
    path = directory / "config.json"
    if not os.path.lexists(path):
        return None
    value = read_json(inside(directory, path.name), _LARGEST_CONFIG)
    if not isinstance(value, dict):
        raise FormatError("is no JSON object", file=path)
    return value


def parts(directory: Path) -> tuple[Path, ...]:
    """The safetensors files of a directory without an index, in llama.cpp's order.

    All named ``model*.safetensors`` (a ``consolidated.safetensors`` beside them, the same weights under other names, is
    left alone); else the only one there is, or the numbered parts of one.
    """
    try:
        names = sorted(entry.name for entry in directory.iterdir() if not entry.is_dir())
    except OSError as e:
        raise InputError(f"cannot be listed: {e.strerror}", file=directory) from e
    weights = [name for name in names if name.endswith(".safetensors")]
    chosen = [name for name in weights if name.startswith("model")] or weights
    if not chosen:
        raise _nothing(directory, names)
    if not chosen[0].startswith("model") and len(chosen) > 1 and not _are_parts(chosen):
        listed = ", ".join(chosen[:4]) + (", ..." if len(chosen) > 4 else "")
        message = f"holds {len(chosen)} safetensors files, none named model: {listed}"
        raise InputError(message, file=directory, hint="give the file you mean")
    _check_complete(directory, chosen)
    return tuple(inside(directory, name) for name in chosen)


def all_parts(path: Path) -> tuple[Path, ...]:
    """The files of the model that ``path`` is a numbered part of, by its name; else that file alone."""
    match = _PART.fullmatch(path.name)
    names = _numbered(match) if match else []
    if path.name not in names:
        return (path,)
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise _missing(path, missing)
    return tuple(path if name == path.name else inside(path.parent, name) for name in names)


def read_index(path: Path) -> dict[str, Path]:
    """The index's map from tensor name to file, sorted by file; every file exists and lies in the index's folder."""
    index = read_json(path, _LARGEST_INDEX)
    names = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise FormatError("has no 'weight_map' from tensors to files", file=path)
    files = sorted(set(names.values()))
    if len(files) > PARTS:
        raise FormatError(f"names {len(files)} files; at most {PARTS} are allowed", file=path)
    found = {name: inside(path.parent, name) for name in files}
    missing = [name for name, file in found.items() if not os.path.isfile(file)]  # False for names too long, too
    if missing:
        raise _missing(path, missing)
    return {tensor: found[name] for tensor, name in sorted(names.items(), key=lambda item: item[1])}


def index_of(path: Path) -> Path | None:
    """The index beside ``path`` if it names that file as one of several, so that the file is only a part of a model."""
    index = path.parent / INDEX
    if not index.is_file():
        return None
    names = read_json(index, _LARGEST_INDEX)
    names = names.get("weight_map") if isinstance(names, dict) else None
    files = {name for name in names.values() if isinstance(name, str)} if isinstance(names, dict) else set()
    return index if path.name in files and len(files) > 1 else None


def _are_parts(names: list[str]) -> bool:
    found = [_PART.fullmatch(name) for name in names]
    return len({(m["prefix"], m["count"]) if m else None for m in found}) == 1 and found[0] is not None


def _numbered(match: re.Match[str]) -> list[str]:
    """The names of all parts of the model that a name matching ``_PART`` belongs to."""
    count = min(int(match["count"]), PARTS)
    return [f"{match['prefix']}-{n:05d}-of-{match['count']}.safetensors" for n in range(1, count + 1)]


def _check_complete(directory: Path, names: list[str]) -> None:
    """Parts numbered "00001-of-00003" must all be there."""
    missing = set()
    for match in filter(None, map(_PART.fullmatch, names)):
        missing |= set(_numbered(match))
    missing -= set(names)
    if missing:
        raise _missing(directory, sorted(missing))


def _missing(where: Path, names: list[str]) -> FormatError:
    more = f" and {len(names) - 1} more are" if len(names) > 1 else " is"
    hint = "download it again: finished parts are kept by 'hf download'"
    return FormatError(f"is incomplete: '{names[0]}'{more} missing", file=where, hint=hint)


def _nothing(directory: Path, names: list[str]) -> InputError:
    """Why a directory without safetensors files cannot be read."""
    for suffix in (".gguf", *PICKLES, *OTHER_WEIGHTS):
        found = [name for name in names if name.lower().endswith(suffix)]
        if not found:
            continue
        path = directory / found[0]
        if suffix == ".gguf":
            message = f"holds {len(found)} GGUF file{'s' * (len(found) > 1)} and no safetensors"
            return InputError(message, file=directory, hint=f"give the file: {path}")
        if suffix in PICKLES:
            return refuse_pickle(path)
        hint = "look for a safetensors revision of the model"
        return UnsupportedError(f"is {OTHER_WEIGHTS[suffix]}, which qconv does not read", file=path, hint=hint)
    below = models_below(directory)
    if below:
        listed = ", ".join(map(str, below[:_NAMED])) + (", ..." if len(below) > _NAMED else "")
        hint = f"give {'one of its folders' if len(below) > 1 else 'the folder'}: {listed}"
        return InputError("holds no weights itself", file=directory, hint=hint)
    if not names and not os.listdir(directory):
        return InputError("is an empty directory", file=directory)
    return InputError("holds no weights: no .safetensors file is in it", file=directory)
