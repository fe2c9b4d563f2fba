"""GGUF files as checkpoints, whole or in shards."""

from __future__ import annotations

from pathlib import Path

from qconv import gguf
from qconv.checkpoints.checkpoint import Checkpoint
from qconv.checkpoints.dtypes import ARRAYS
from qconv.checkpoints.lookalikes import GGUF_MAGIC
from qconv.checkpoints.stored import OpenFiles, Place, Stored
from qconv.errors import UnsupportedError

KIND = "gguf"


def recognizes(path: Path, first: bytes) -> bool:
    """Whether this is the kind of input at ``path``, a file with these ``first`` bytes."""
    return first.startswith(GGUF_MAGIC) or (path.suffix == ".gguf" and path.is_file())


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at ``path``, with all its shards if it is one of several."""
    headers = gguf.read_shards(path)
    opened = OpenFiles()
    try:
        places = [place for header in headers for place in _places(opened, header)]
    except BaseException:
        opened.close()
        raise
    return Checkpoint(
        kind=KIND,
        path=path,
        directory=path.parent,
        files=tuple(header.path for header in headers),
        source=Stored(opened, places),
        metadata=gguf.whole_metadata(headers),
    )


def _places(opened: OpenFiles, header: gguf.File) -> list[Place]:
    opened.add(header.path)
    number = len(opened.paths) - 1
    big_endian = header.byte_order == "big"
    for tensor in header.tensors.values():
        if big_endian and tensor.info.dtype not in ARRAYS:
            hint = "convert the model's safetensors instead"
            message = f"is {tensor.info.dtype} in a big-endian file; only plain numbers can be turned around"
            raise UnsupportedError(message, file=header.path, tensor=tensor.info.name, hint=hint)
    return [Place(t.info, number, t.offset, big_endian) for t in header.tensors.values()]
