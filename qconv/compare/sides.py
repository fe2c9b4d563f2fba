"""What can be compared: a GGUF file, or a checkpoint as the unquantized file llama.cpp's converter would make of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qconv import blocks, checkpoints, plan
from qconv.types import Metadata, Rows, TensorInfo

Floats = NDArray[np.float32]


class Side(Protocol):
    """One of the two: its keys, its tensors, and their rows."""

    @property
    def metadata(self) -> Metadata: ...

    @property
    def tensors(self) -> Mapping[str, TensorInfo]: ...

    @property
    def is_checkpoint(self) -> bool:
        """Types and quantization keys of a checkpoint say nothing: it has none of its own."""
        ...

    def read(self, name: str, start: int, stop: int) -> tuple[Rows, str]:
        """Rows and the storage type they are in; ``widened`` makes float32 of them."""
        ...

    def close(self) -> None: ...


def widened(rows: Rows, dtype: str) -> Floats:
    """Rows of a storage type as float32; integers and F64 are rounded."""
    if dtype in ("F32", "F16", "F64", "I8", "I16", "I32", "I64"):
        with np.errstate(over="ignore"):  # an F64 beyond float32 is infinite there
            return rows.astype(np.float32, copy=False)
    return blocks.decode(dtype, rows.view(np.uint8))


@dataclass(frozen=True, slots=True)
class GgufSide:
    """A GGUF file, all its shards."""

    checkpoint: checkpoints.Checkpoint
    is_checkpoint: bool = False

    @property
    def metadata(self) -> Metadata:
        return self.checkpoint.metadata or {}

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        return self.checkpoint.tensors

    def read(self, name: str, start: int, stop: int) -> tuple[Rows, str]:
        return self.checkpoint.read(name, start, stop), self.tensors[name].dtype

    def close(self) -> None:
        self.checkpoint.close()


class CheckpointSide:
    """A safetensors checkpoint with the names, shapes and values that the converter gives it."""

    is_checkpoint = True

    def __init__(self, checkpoint: checkpoints.Checkpoint) -> None:
        model = plan.read_model(checkpoint)
        self._checkpoint = checkpoint
        self._recipes = {o.name: o.recipe for o in model.outputs}
        self.metadata = model.metadata
        self.tensors = {info.name: info for info in model.infos(model.float_type)}

    def read(self, name: str, start: int, stop: int) -> tuple[Rows, str]:
        recipe = self._recipes[name]
        return recipe.read(self._checkpoint, start, stop), recipe.dtype

    def close(self) -> None:
        self._checkpoint.close()


def open_side(path: str | os.PathLike[str]) -> Side:
    """The side at ``path``; raises as ``checkpoints.open`` and ``plan.read_model`` do."""
    checkpoint = checkpoints.open(Path(path))
    try:
        return GgufSide(checkpoint) if checkpoint.metadata is not None else CheckpointSide(checkpoint)
    except BaseException:
        checkpoint.close()
        raise
