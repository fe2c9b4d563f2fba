"""What can be compared: a GGUF file, or a checkpoint as the unquantized file llama.cpp's converter would make of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from qconv import checkpoints, plan
from qconv.tensors import LazyTensor
from qconv.types import Metadata


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two.

    ``types``: the storage type of each tensor, for a checkpoint that which the converter would give it.
    ``is_checkpoint``: types and quantization keys say nothing: it has none of its own.
    """

    checkpoint: checkpoints.Checkpoint
    metadata: Metadata
    tensors: Mapping[str, LazyTensor]
    types: Mapping[str, str]
    is_checkpoint: bool

    def close(self) -> None:
        self.checkpoint.close()


def open_side(path: str | os.PathLike[str]) -> Side:
    """The side at ``path``; raises as ``checkpoints.open`` and ``plan.read_model`` do."""
    checkpoint = checkpoints.open(path)
    try:
        if checkpoint.metadata is not None:
            types = {name: tensor.dtype for name, tensor in checkpoint.lazy.items()}
            return Side(checkpoint, checkpoint.metadata, checkpoint.lazy, types, False)
        model = plan.read_model(checkpoint)
        types = {info.name: info.dtype for info in model.infos(model.float_type)}
        return Side(checkpoint, model.metadata, {o.name: o.tensor for o in model.outputs}, types, True)
    except BaseException:
        checkpoint.close()
        raise
