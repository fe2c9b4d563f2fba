"""What can be compared: a GGUF file, or a checkpoint as the unquantized file llama.cpp's converter would make of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from qconv import checkpoints, plan
from qconv.metadata import is_projector
from qconv.tensors import LazyTensor
from qconv.types import Metadata


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two.

    ``types``: the storage type of each tensor, for a checkpoint that which the converter would give it.
    ``is_checkpoint``: types and quantization keys say nothing: it has none of its own.
    """

    metadata: Metadata
    tensors: Mapping[str, LazyTensor]
    types: Mapping[str, str]
    is_checkpoint: bool


@contextmanager
def open_sides(reference: str | os.PathLike[str], other: str | os.PathLike[str]) -> Iterator[tuple[Side, Side]]:
    """Both sides; of a checkpoint its projector, where the other side is a projector's file.

    Raises as ``checkpoints.open``, ``plan.read_model`` and ``plan.read_projector`` do.
    """
    with checkpoints.open(reference) as first, checkpoints.open(other) as second:
        projector = any(c.metadata is not None and is_projector(c.metadata) for c in (first, second))
        yield _side(first, projector), _side(second, projector)


def _side(checkpoint: checkpoints.Checkpoint, projector: bool) -> Side:
    if checkpoint.metadata is not None:
        types = {name: tensor.dtype for name, tensor in checkpoint.lazy.items()}
        return Side(checkpoint.metadata, checkpoint.lazy, types, False)
    model = plan.read_projector(checkpoint) if projector else plan.read_model(checkpoint)
    types = {info.name: info.dtype for info in model.infos(model.float_type)}
    return Side(model.metadata, {o.name: o.tensor for o in model.outputs}, types, True)
