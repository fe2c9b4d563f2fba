"""Do all blocks decode to numbers?"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from qconv import blocks, pipeline
from qconv.errors import UnsupportedError
from qconv.formats import block_types
from qconv.gguf import File
from qconv.options import RunOptions
from qconv.pipeline import Block, Encoding, Progress, TensorWork
from qconv.storage import StoredFile
from qconv.tensors import StoredTensor, TensorLocation, as_float32, is_blocks
from qconv.types import Rows
from qconv.verify.report import Problem

_WEIGHTS = 1 << 17
"""Weights decoded at once, in whole rows."""

_INTEGERS = ("I8", "I16", "I32", "I64")


class _Finite:
    """The sink that looks for weights that are NaN or infinite; ``first``: the first of each tensor that has any."""

    def __init__(self) -> None:
        self.first: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, block: Block, encoding: Encoding, rows: Rows, encoded: NDArray[np.uint8]) -> None:
        work = block.work
        step = max(1, _WEIGHTS // max(1, work.columns))
        for row in range(0, len(rows), step):
            bad = ~_finite(work.tensor.dtype, rows[row : row + step])
            if bad.any():
                weight = (block.start + row) * work.columns + int(bad.argmax())
                with self._lock:
                    self.first[work.name] = min(weight, self.first.get(work.name, weight))
                return

    def memory(self, work: TensorWork, rows: int) -> int:
        return 6 * min(max(work.columns, _WEIGHTS), rows * work.columns)


def problems(shards: Sequence[tuple[StoredFile, File]], options: RunOptions, progress: Progress) -> Iterator[Problem]:
    """Tensors with a weight that is NaN or infinite, which one damaged scale is enough for."""
    works, paths = [], {}
    for file, header in shards:
        for name, t in header.tensors.items():
            if t.info.dtype not in _INTEGERS and t.size and not _undecodable(t.info.dtype):
                location = TensorLocation(t.info, t.offset, header.byte_order == "big")
                works.append(pipeline.as_read(name, StoredTensor(location, file)))
                paths[name] = header.path
    sink = _Finite()
    segments = pipeline.segments([(work, 0, work.rows) for work in works])
    pipeline.run(segments, sink, threads=options.threads, memory_limit=options.memory, progress=progress)
    for name, weight in sorted(sink.first.items()):
        yield Problem(paths[name], name, f"has NaN or infinite weights, the first is weight {weight:,}")


def _undecodable(dtype: str) -> bool:
    layout = block_types()[dtype]
    if layout.weights == 1:
        return False
    try:
        blocks.decode(dtype, np.zeros((1, layout.bytes), np.uint8))
    except UnsupportedError:
        return True
    return False


def _finite(dtype: str, rows: Rows) -> NDArray[np.bool_]:
    if is_blocks(dtype):
        return np.isfinite(blocks.decode(dtype, np.ascontiguousarray(rows)))
    return np.isfinite(rows if dtype in ("F64", "F32", "F16") else as_float32(rows, dtype))
