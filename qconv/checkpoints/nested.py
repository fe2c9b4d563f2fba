"""Weights in folders within a model's own, as of its audio tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import replace

from qconv.checkpoints.checkpoint import Checkpoint
from qconv.checkpoints.safetensors_header import read_header
from qconv.tensors import StoredTensor

WEIGHTS = "model.safetensors"


def tensors_in(checkpoint: Checkpoint, path: str, separator: str = "/") -> Iterator[tuple[str, StoredTensor]]:
    """The tensors of the folder ``path`` in the model's, in the file's order, named ``path``, ``separator``, name.

    The file counts among the checkpoint's from now on.  Raises InputError when there is none.
    """
    file = checkpoint.folder.open(f"{path}/{WEIGHTS}")
    checkpoint.files = (*checkpoint.files, file)
    for location in sorted(read_header(file).tensors, key=lambda location: location.offset):
        name = f"{path}{separator}{location.info.name}"
        yield name, StoredTensor(replace(location, info=replace(location.info, name=name)), file)


def with_folders(checkpoint: Checkpoint, paths: tuple[str, ...]) -> Checkpoint:
    """``checkpoint`` with the tensors of folders in the model's before its own; the files are closed with it."""
    nested = {name: tensor for path in paths for name, tensor in tensors_in(checkpoint, path)}
    wider = copy(checkpoint)
    wider.stored = {**nested, **checkpoint.stored}
    wider.lazy = {**nested, **checkpoint.lazy}
    return wider
