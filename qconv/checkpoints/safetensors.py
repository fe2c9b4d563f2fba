"""Safetensors checkpoints: a file, a sharded one's index, or a directory."""

from __future__ import annotations

import re
from pathlib import Path

from qconv.checkpoints.checkpoint import Checkpoint
from qconv.checkpoints.folder import INDEX, all_parts, index_of, parts, read_config, read_index
from qconv.checkpoints.lookalikes import GGUF_MAGIC
from qconv.checkpoints.safetensors_header import read_header
from qconv.checkpoints.stored import OpenFiles, Place, Stored
from qconv.errors import FormatError, UnsupportedError

KIND = "safetensors"
_OF_ADAPTER = re.compile(r"(?:^|\.)lora_")


def recognizes(path: Path, first: bytes) -> bool:
    """Whether this is the kind of input at ``path``, a directory or a file with these ``first`` bytes."""
    if path.is_dir() or path.name.endswith(".safetensors.index.json"):
        return True
    return path.suffix == ".safetensors" and not first.startswith(GGUF_MAGIC)


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at ``path``; a file that is one part of several opens the whole model."""
    index = _index(path)
    listed = read_index(index) if index else None
    if listed is not None:
        files = tuple(dict.fromkeys(listed.values()))
    else:
        files = parts(path) if path.is_dir() else all_parts(path)
    directory = path if path.is_dir() else path.parent
    opened = OpenFiles()
    try:
        places = [place for file in files for place in _places(opened, file)]
        _check_names(opened, places, index, listed)
        _refuse_adapter(path, files, places)
        config = read_config(directory)
    except BaseException:
        opened.close()
        raise
    return Checkpoint(
        kind=KIND, path=path, directory=directory, files=files, source=Stored(opened, places), config=config
    )


def _index(path: Path) -> Path | None:
    if path.is_dir():
        return path / INDEX if (path / INDEX).is_file() else None
    return path if path.name.endswith(".json") else index_of(path)


def _places(opened: OpenFiles, path: Path) -> list[Place]:
    descriptor = opened.add(path)
    number = len(opened.paths) - 1
    return [Place(info, number, offset) for info, offset in read_header(path, descriptor)]


def _refuse_adapter(path: Path, files: tuple[Path, ...], places: list[Place]) -> None:
    """Raises ``UnsupportedError`` for changes to another model: a file called so, or tensors of low rank only."""
    by_name = [file.name for file in files] == ["adapter_model.safetensors"]
    if by_name or (places and all(_OF_ADAPTER.search(place.info.name) for place in places)):
        raise UnsupportedError("holds a LoRA adapter, not a model", file=path, hint="merge it into its base model")


def _check_names(opened: OpenFiles, places: list[Place], index: Path | None, listed: dict[str, Path] | None) -> None:
    """No tensor twice, and exactly the index's tensors in the index's files."""
    seen: dict[str, Path] = {}
    for place in places:
        name, file = place.info.name, opened.paths[place.file]
        if name in seen:
            raise FormatError(f"is also in '{seen[name].name}'", file=file, tensor=name, hint="keep one of the files")
        seen[name] = file
    if listed is None:
        return
    for name, file in listed.items():
        if seen.get(name) != file:
            hint = "the parts may be from different revisions: download them again"
            raise FormatError(f"is not in '{file.name}', as the index says", file=index, tensor=name, hint=hint)
    extra = next((name for name in seen if name not in listed), None)
    if extra is not None:
        raise FormatError(f"is in '{seen[extra].name}', but not in the index", file=index, tensor=extra)
