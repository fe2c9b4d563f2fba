"""GGUF files as checkpoints, whole or in shards."""

from __future__ import annotations

from collections.abc import Iterator

from qconv import gguf
from qconv.checkpoints.checkpoint import Checkpoint
from qconv.checkpoints.sniff import GGUF_MAGIC
from qconv.errors import UnsupportedError
from qconv.storage import Folder, StoredFile
from qconv.tensors import StoredTensor, TensorLocation, is_blocks


def recognizes(name: str | None, first: bytes) -> bool:
    """Whether this is the kind of input in a file of that name with these ``first`` bytes (None: a folder)."""
    return name is not None and (first.startswith(GGUF_MAGIC) or name.endswith(".gguf"))


def open_checkpoint(folder: Folder, name: str | None) -> Checkpoint:
    """The checkpoint in a file of ``folder``, with all its shards if it is one of several."""
    assert name is not None
    opened = gguf.open_shards(folder, name)
    try:
        stored = {tensor.name: tensor for file, header in opened for tensor in _tensors(file, header)}
    except BaseException:
        for file, _ in opened:
            file.close()
        raise
    return Checkpoint(
        kind="gguf",
        folder=folder,
        name=name,
        files=[file for file, _ in opened],
        stored=stored,
        metadata=gguf.whole_metadata([header for _, header in opened]),
    )


def _tensors(file: StoredFile, header: gguf.File) -> Iterator[StoredTensor]:
    big_endian = header.byte_order == "big"
    for tensor in header.tensors.values():
        if big_endian and is_blocks(tensor.info.dtype):
            hint = "convert the model's safetensors instead"
            message = f"is {tensor.info.dtype} in a big-endian file; only plain numbers can be turned around"
            raise UnsupportedError(message, file=header.location, tensor=tensor.info.name, hint=hint)
        yield StoredTensor(TensorLocation(tensor.info, tensor.offset, big_endian), file)
