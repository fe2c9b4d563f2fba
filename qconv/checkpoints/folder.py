"""Finds the weights of a checkpoint's folder, and says what is wrong when there are none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qconv.checkpoints import mistral
from qconv.checkpoints.find_nested import find_nested
from qconv.checkpoints.sniff import OTHER_WEIGHTS, PICKLES, refuse_pickle
from qconv.errors import FormatError, InputError, UnsupportedError, and_more
from qconv.files import read_json, read_object
from qconv.storage import Folder, LocalFolder, is_inside

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
ADAPTERS = ("adapter_model.safetensors", "adapters.safetensors")
"""What PEFT and MLX call the weights of an adapter."""
ADAPTER_CONFIG = "adapter_config.json"
SHARDS = 4096
"""Most files a checkpoint may have."""
_LARGEST_INDEX = 64 << 20
_LARGEST_CONFIG = 16 << 20
_NAMED = 3
_SHARD = re.compile(r"(?P<prefix>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.safetensors", re.DOTALL)


def read_config(folder: Folder, weights: Sequence[str]) -> dict[str, Any] | None:
    """``config.json`` of the folder, or what Mistral's ``params.json`` says of ``weights``; None when there is none.

    Raises ``FormatError`` when it is no JSON object, ``InputError`` when it cannot be read.
    """
    if mistral.is_native(folder, weights):
        params = read_object(folder, mistral.PARAMS, _LARGEST_CONFIG)
        return mistral.config_of(params, folder.locate(mistral.PARAMS))
    name = "config.json"
    there = folder.has(name) or name in folder.names()  # if that is not a file, reading says so
    return read_object(folder, name, _LARGEST_CONFIG) if there else None


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """Which files of a folder are the model, in order.

    ``index``: the index that lists them, and ``listed`` its map from tensor to file; None without one.  ``notes``: what
    was passed over.
    """

    names: tuple[str, ...]
    index: str | None = None
    listed: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()


def weight_files(folder: Folder) -> WeightFiles:
    """The model in a folder: what its index lists, else ``shards``.

    A ``model.safetensors`` that the index does not name is another set of the same weights, which transformers would
    load: InputError when both are complete; else the one that is.
    """
    if not folder.has(INDEX):
        return shards(folder)
    try:
        _weight_map(folder, INDEX)
    except FormatError as e:
        if not folder.has(SINGLE):
            raise
        chosen = shards(folder)
        return replace(chosen, notes=(f"{INDEX} is passed over, since it {e.message}", *chosen.notes))
    files = set(index_map(folder, INDEX).values())
    if folder.has(SINGLE) and SINGLE not in files:
        gone = sorted(name for name in files if not folder.has(name))
        if not gone:
            raise _two_sets(folder, [SINGLE], sorted(files), INDEX)
        note = f"{INDEX} is passed over, since {_missing_text(gone)}: {SINGLE} is the model"
        return WeightFiles((SINGLE,), notes=(note,))
    return indexed(folder, INDEX)


def indexed(folder: Folder, index: str) -> WeightFiles:
    """The files that an index lists; raises as ``read_index``."""
    listed = read_index(folder, index)
    files = tuple(dict.fromkeys(listed.values()))
    others = [name for name in folder.names() if _SHARD.fullmatch(name) and name not in files]
    notes = [f"{and_more(others, 2)} left out: {index} does not name {'it' if len(others) == 1 else 'them'}"]
    return WeightFiles(files, index, listed, tuple(notes) if others else ())


def shards(folder: Folder) -> WeightFiles:
    """The safetensors files of a folder without an index, in llama.cpp's order.

    All named ``model*.safetensors`` (a ``consolidated.safetensors`` beside them, the same weights under other names, is
    left alone); else those of an adapter, the only one there is, or the numbered shards of one.  Of several sets, a
    ``model.safetensors`` and numbered shards, the one that is complete; InputError when more are.
    """
    names = folder.names()
    weights = [name for name in names if name.endswith(".safetensors")]
    chosen = [name for name in weights if name.startswith("model")] or weights
    if chosen is weights and (adapter := adapter_weights(folder)) is not None:
        return WeightFiles((adapter,))
    if not chosen:
        raise _nothing(folder, names)
    if not chosen[0].startswith("model") and len(chosen) > 1 and not _are_shards(chosen):
        listed = ", ".join(chosen[:4]) + (", ..." if len(chosen) > 4 else "")
        message = f"holds {len(chosen)} safetensors files, none named model: {listed}"
        raise InputError(message, file=folder.location, hint="give the file you mean")
    sets: dict[str, list[str]] = {}
    for name in chosen:
        match = _SHARD.fullmatch(name)
        if match or name == SINGLE:
            sets.setdefault(f"{match['prefix']} {match['count']}" if match else name, []).append(name)
    if len(sets) < 2:
        _check_complete(folder, chosen)
        return WeightFiles(tuple(chosen))
    missing = {key: _absent(names) for key, names in sets.items()}
    complete = [key for key in sets if not missing[key]]
    if len(complete) > 1:
        one, other, *_ = sorted((sets[key] for key in complete), key=lambda names: names != [SINGLE])
        raise _two_sets(folder, one, other, other[0])
    if not complete:
        raise _missing(folder.location, next(iter(missing.values())))
    partial = {name for key, names in sets.items() if key not in complete for name in names}
    gone = [name for names in missing.values() for name in names]
    note = f"{and_more(sorted(partial), 2)} passed over, since {_missing_text(gone)}"
    return WeightFiles(tuple(name for name in chosen if name not in partial), notes=(note,))


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
    listed = index_map(folder, name)
    missing = sorted(file for file in set(listed.values()) if not folder.has(file))
    if missing:
        raise _missing(folder.locate(name), missing)
    return listed


def index_map(folder: Folder, name: str) -> dict[str, str]:
    """The index's map from tensor name to file, sorted by file; every file would lie in the index's folder."""
    listed = _weight_map(folder, name)
    files = sorted(set(listed.values()))
    if len(files) > SHARDS:
        raise FormatError(f"names {len(files)} files; at most {SHARDS} are allowed", file=folder.locate(name))
    for file in files:
        if not is_inside(file):
            hint = "only files of its own folder are read: put it there, or get the model from another place"
            raise FormatError(f"names a file outside its folder, '{file}'", file=folder.locate(name), hint=hint)
    return dict(sorted(listed.items(), key=lambda item: item[1]))


def _weight_map(folder: Folder, name: str) -> dict[str, str]:
    index = read_json(folder, name, _LARGEST_INDEX)
    listed = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(listed, dict) or not listed or not all(isinstance(file, str) for file in listed.values()):
        raise FormatError("has no 'weight_map' from tensors to files", file=folder.locate(name))
    return listed


def index_of(folder: Folder, name: str) -> str | None:
    """The index beside the file ``name`` if it lists that as one of several, so that it is only a shard of a model."""
    try:
        files = set(_weight_map(folder, INDEX).values()) if folder.has(INDEX) else set()
    except FormatError:
        return None
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
    if missing := _absent(names):
        raise _missing(folder.location, missing)


def _absent(names: Sequence[str]) -> list[str]:
    """The shards that are missing beside those of ``names`` that are numbered."""
    numbered = {name for match in filter(None, map(_SHARD.fullmatch, names)) for name in _numbered(match)}
    return sorted(numbered - set(names))


def _missing(location: str, names: Sequence[str]) -> FormatError:
    hint = "download it again: finished parts are kept by 'hf download'"
    return FormatError(f"is incomplete: {_missing_text(names)}", file=location, hint=hint)


def _missing_text(names: Sequence[str]) -> str:
    return f"'{names[0]}'" + (f" and {len(names) - 1} more are missing" if len(names) > 1 else " is missing")


def _set_text(names: Sequence[str]) -> str:
    return f"'{names[0]}' to '{names[-1]}'" if len(names) > 1 else f"'{names[0]}'"


def _two_sets(folder: Folder, one: Sequence[str], other: Sequence[str], way: str) -> InputError:
    """The error for two complete sets of weights; ``way``: the file that stands for the other one."""
    loads = " (which transformers loads)" if one[0] == SINGLE else ""
    hint = f"give the one you mean, {folder.locate(one[0])}{loads} or {folder.locate(way)}, or move the other away"
    return InputError(f"holds two models, {_set_text(one)} and {_set_text(other)}", file=folder.location, hint=hint)


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
