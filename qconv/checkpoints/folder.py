"""Finds the weights of a checkpoint's folder, and says what is wrong when there are none."""

from __future__ import annotations

import re
from typing import Any

from qconv.checkpoints.find_nested import find_nested
from qconv.checkpoints.sniff import OTHER_WEIGHTS, PICKLES, refuse_pickle
from qconv.errors import FormatError, InputError, UnsupportedError
from qconv.files import read_json, read_object
from qconv.storage import Folder, LocalFolder, is_inside

INDEX = "model.safetensors.index.json"
ADAPTERS = ("adapter_model.safetensors", "adapters.safetensors")
"""What PEFT and MLX call the weights of an adapter."""
ADAPTER_CONFIG = "adapter_config.json"
SHARDS = 4096
"""Most files a checkpoint may have."""
_LARGEST_INDEX = 64 << 20
_LARGEST_CONFIG = 16 << 20
_NAMED = 3
_SHARD = re.compile(r"(?P<prefix>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors", re.DOTALL)


def read_config(folder: Folder) -> dict[str, Any] | None:
    """``config.json`` of the folder, None when there is none.

    Raises ``FormatError`` when it is no JSON object, ``InputError`` when it cannot be read.
    """
    name = "config.json"
    there = folder.has(name) or name in folder.names()  # if that is no file, reading says so
    return read_object(folder, name, _LARGEST_CONFIG) if there else None


def shards(folder: Folder) -> tuple[str, ...]:
    """The safetensors files of a folder without an index, in llama.cpp's order.

    All named ``model*.safetensors`` (a ``consolidated.safetensors`` beside them, the same weights under other names, is
    left alone); else those of an adapter, the only one there is, or the numbered shards of one.
    """
    names = folder.names()
    weights = [name for name in names if name.endswith(".safetensors")]
    chosen = [name for name in weights if name.startswith("model")] or weights
    if chosen is weights and (adapter := adapter_weights(folder)) is not None:
        return (adapter,)
    if not chosen:
        raise _nothing(folder, names)
    if not chosen[0].startswith("model") and len(chosen) > 1 and not _are_shards(chosen):
        listed = ", ".join(chosen[:4]) + (", ..." if len(chosen) > 4 else "")
        message = f"holds {len(chosen)} safetensors files, none named model: {listed}"
        raise InputError(message, file=folder.location, hint="give the file you mean")
    _check_complete(folder, chosen)
    return tuple(chosen)


def adapter_weights(folder: Folder) -> str | None:
    """The file with the weights of an adapter in ``folder``, None when it holds none."""
    if not folder.has(ADAPTER_CONFIG):
        return None
    return next((name for name in ADAPTERS if folder.has(name)), None)


def read_adapter_config(folder: Folder) -> dict[str, Any] | None:
    """``adapter_config.json`` of the folder, None when there is none; raises as ``read_config``."""
    return read_object(folder, ADAPTER_CONFIG, _LARGEST_CONFIG) if folder.has(ADAPTER_CONFIG) else None


def all_shards(folder: Folder, name: str) -> tuple[str, ...]:
    """The files of the model that ``name`` is a numbered shard of, by its name; else that file alone."""
    match = _SHARD.fullmatch(name)
    numbered = _numbered(match) if match else []
    if name not in numbered:
        return (name,)
    missing = [each for each in numbered if not folder.has(each)]
    if missing:
        raise _missing(folder.locate(name), missing)
    return tuple(numbered)


def read_index(folder: Folder, name: str) -> dict[str, str]:
    """The index's map from tensor name to file, sorted by file; every file exists and lies in the index's folder."""
    index = read_json(folder, name, _LARGEST_INDEX)
    listed = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(listed, dict) or not listed or not all(isinstance(file, str) for file in listed.values()):
        raise FormatError("has no 'weight_map' from tensors to files", file=folder.locate(name))
    files = sorted(set(listed.values()))
    if len(files) > SHARDS:
        raise FormatError(f"names {len(files)} files; at most {SHARDS} are allowed", file=folder.locate(name))
    for file in files:
        if not is_inside(file):
            hint = "only files of its own folder are read: put it there, or get the model from another place"
            raise FormatError(f"names a file outside its folder, '{file}'", file=folder.locate(name), hint=hint)
    missing = [file for file in files if not folder.has(file)]
    if missing:
        raise _missing(folder.locate(name), missing)
    return dict(sorted(listed.items(), key=lambda item: item[1]))


def index_of(folder: Folder, name: str) -> str | None:
    """The index beside the file ``name`` if it lists that as one of several, so that it is only a shard of a model."""
    if not folder.has(INDEX):
        return None
    index = read_json(folder, INDEX, _LARGEST_INDEX)
    listed = index.get("weight_map") if isinstance(index, dict) else None
    files = {file for file in listed.values() if isinstance(file, str)} if isinstance(listed, dict) else set()
    return INDEX if name in files and len(files) > 1 else None


def _are_shards(names: list[str]) -> bool:
    matches = [_SHARD.fullmatch(name) for name in names]
    return len({(m["prefix"], m["count"]) if m else None for m in matches}) == 1 and matches[0] is not None


def _numbered(match: re.Match[str]) -> list[str]:
    """The names of all shards of the model that a name matching ``_SHARD`` belongs to."""
    count = min(int(match["count"]), SHARDS)
    return [f"{match['prefix']}-{n:05d}-of-{match['count']}.safetensors" for n in range(1, count + 1)]


def _check_complete(folder: Folder, names: list[str]) -> None:
    """Shards numbered "00001-of-00003" must all be there."""
    missing = set()
    for match in filter(None, map(_SHARD.fullmatch, names)):
        missing |= set(_numbered(match))
    missing -= set(names)
    if missing:
        raise _missing(folder.location, sorted(missing))


def _missing(location: str, names: list[str]) -> FormatError:
    more = f" and {len(names) - 1} more are" if len(names) > 1 else " is"
    hint = "download it again: finished parts are kept by 'hf download'"
    return FormatError(f"is incomplete: '{names[0]}'{more} missing", file=location, hint=hint)


def _nothing(folder: Folder, names: list[str]) -> InputError:
    """Why a folder without safetensors files cannot be read."""
    for suffix in (".gguf", *PICKLES, *OTHER_WEIGHTS):
        alike = [name for name in names if name.lower().endswith(suffix)]
        if not alike:
            continue
        location = folder.locate(alike[0])
        if suffix == ".gguf":
            message = f"holds {len(alike)} GGUF file{'s' * (len(alike) > 1)} and no safetensors"
            return InputError(message, file=folder.location, hint=f"give the file: {location}")
        if suffix in PICKLES:
            return refuse_pickle(location)
        hint = "look for a safetensors revision of the model"
        return UnsupportedError(f"is {OTHER_WEIGHTS[suffix]}, which qconv does not read", file=location, hint=hint)
    nested = find_nested(folder.path) if isinstance(folder, LocalFolder) else []
    if nested:
        listed = ", ".join(map(str, nested[:_NAMED])) + (", ..." if len(nested) > _NAMED else "")
        hint = f"give {'one of its folders' if len(nested) > 1 else 'the folder'}: {listed}"
        return InputError("holds no weights itself", file=folder.location, hint=hint)
    if not names:
        return InputError("is an empty directory", file=folder.location)
    return InputError("holds no weights: no .safetensors file is in it", file=folder.location)
