"""Safetensors checkpoints: a file, a sharded one's index, or a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from qconv.checkpoints.checkpoint import Checkpoint
from qconv.checkpoints.folder import (
    ADAPTERS,
    WeightFiles,
    all_shards,
    index_of,
    indexed,
    read_adapter_config,
    read_config,
    weight_files,
)
from qconv.checkpoints.safetensors_header import read_header
from qconv.checkpoints.sniff import GGUF_MAGIC
from qconv.errors import FormatError
from qconv.storage import Folder, StoredFile
from qconv.tensors import StoredTensor, TensorLocation

_OF_ADAPTER = re.compile(r"(?:^|\.)lora_")


def recognizes(name: str | None, first: bytes) -> bool:
    """Whether this is the kind of input in a file of that name with these ``first`` bytes (None: a folder)."""
    if name is None or name.endswith(".safetensors.index.json"):
        return True
    return name.endswith(".safetensors") and not first.startswith(GGUF_MAGIC)


def open_checkpoint(folder: Folder, name: str | None) -> Checkpoint:
    """The checkpoint in ``folder``, or in its file ``name``; a file that is one shard of several opens the model."""
    chosen = _chosen(folder, name)
    files: list[StoredFile] = []
    try:
        stored: dict[str, StoredTensor] = {}
        frameworks: set[str | None] = set()
        for shard in chosen.names:
            files.append(folder.open(shard))
            files[-1].prefetch(1)  # over a line, headers are on their way together
        for file in files:
            header = read_header(file)
            _add(stored, file, header.tensors)
            frameworks.add(header.framework)
        is_adapter = _is_adapter(chosen.names, stored)
        config = read_adapter_config(folder) if is_adapter else read_config(folder, chosen.names)
        absent = _absent(folder, chosen, stored)
        if absent and config is None:
            raise _not_as_listed(folder, chosen, *next(iter(absent.items())))
    except BaseException:
        for file in files:
            file.close()
        raise
    return Checkpoint(
        kind="adapter" if is_adapter else "safetensors",
        folder=folder,
        name=name,
        files=files,
        stored=stored,
        config=config,
        frameworks=frozenset(frameworks),
        notes=chosen.notes,
        absent=absent,
    )


def _chosen(folder: Folder, name: str | None) -> WeightFiles:
    if name is None:
        return weight_files(folder)
    index = name if name.endswith(".json") else index_of(folder, name)
    return WeightFiles(all_shards(folder, name)) if index is None else indexed(folder, index)


def _add(stored: dict[str, StoredTensor], file: StoredFile, tensors: Sequence[TensorLocation]) -> None:
    """Adds the tensors of a file, none of which may be in another."""
    for location in tensors:
        name = location.info.name
        if name in stored:
            message = f"is also in '{stored[name].file.name}'"
            raise FormatError(
                message, file=file.location, tensor=name, hint="give the file you mean, or keep only one of them"
            )
        stored[name] = StoredTensor(location, file)


def _is_adapter(names: Sequence[str], stored: Mapping[str, StoredTensor]) -> bool:
    """Whether these are changes to another model: a file called so, or tensors of low rank only."""
    by_name = len(names) == 1 and names[0] in ADAPTERS
    return by_name or (bool(stored) and all(map(_OF_ADAPTER.search, stored)))


def _absent(folder: Folder, chosen: WeightFiles, stored: Mapping[str, StoredTensor]) -> dict[str, str]:
    """Tensors of the index that no file has, with the file each should be in.

    FormatError: one is in another file than the index says, or one of the files' tensors is not in the index.
    """
    if chosen.index is None or chosen.listed is None:
        return {}
    absent = {}
    for name, file in chosen.listed.items():
        if name not in stored:
            absent[name] = file
        elif stored[name].file.location != folder.locate(file):
            raise _not_as_listed(folder, chosen, name, file)
    extra = next((name for name in stored if name not in chosen.listed), None)
    if extra is not None:
        message = f"is in '{stored[extra].file.name}', but not in the index"
        raise FormatError(message, file=folder.locate(chosen.index), tensor=extra)
    return absent


def _not_as_listed(folder: Folder, chosen: WeightFiles, name: str, file: str) -> FormatError:
    hint = "the shards may be from different revisions: download them again"
    location = folder.locate(chosen.index or "")
    return FormatError(f"is not in '{file}', as the index says", file=location, tensor=name, hint=hint)
