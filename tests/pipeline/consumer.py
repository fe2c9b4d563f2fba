"""A consumer of weights in a few lines: how far each tensor of a checkpoint is from what it is encoded as."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qconv import blocks, checkpoints, pipeline, plan
from qconv.options import ConvertOptions
from qconv.tensors import FLOATS, as_float32, convert
from qconv.types import Rows


class Errors:
    """The sink: sums of squared differences by tensor."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, block: pipeline.Block, encoding: pipeline.Encoding, rows: Rows, encoded: NDArray[np.uint8]) -> None:
        if encoding.block_type not in FLOATS:
            dtype = block.work.tensor.dtype
            source = as_float32(convert(rows, dtype, encoding.intermediate_type), encoding.intermediate_type)
            error = float(np.square(blocks.decode(encoding.block_type, encoded) - source, dtype=np.float64).sum())
            with self._lock:
                self.sums[block.work.name] = self.sums.get(block.work.name, 0.0) + error

    def memory(self, work: pipeline.TensorWork, rows: int) -> int:
        return 16 * rows * work.columns


def errors(source: Path, type: str) -> dict[str, float]:
    """Sums of squared errors of every tensor that ``type`` encodes."""
    sink = Errors()
    with checkpoints.open(source) as checkpoint:
        works = pipeline.works_of(plan.make(checkpoint, ConvertOptions(types=(type,))))
        pipeline.run(pipeline.segments([(work, 0, work.rows) for work in works]), sink)
    return sink.sums
