"""Are these the bytes that encoding the source again gives?"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qconv import pipeline
from qconv.gguf import File, header, padded, shard_metadata, whole_metadata
from qconv.options import RunOptions
from qconv.pipeline import Block, Encoding, Progress, TensorWork
from qconv.plan import Plan, TensorPlan
from qconv.storage import StoredFile
from qconv.types import Rows, TensorInfo, shape_text
from qconv.verify.report import Problem

_CHUNK = 1 << 20
"""Bytes compared at a time, in whole rows."""
_OTHER_KEYS = "the metadata differ (`qconv compare` shows how)"


def problems(
    plan: Plan, shards: Sequence[tuple[StoredFile, File]], options: RunOptions, progress: Progress
) -> Iterator[Problem]:
    """Encodes as ``plan`` says, and compares with ``shards``, a model's files in order with their headers."""
    places = {name: (file, h, t) for file, h in shards for name, t in h.tensors.items()}
    alike: list[TensorPlan] = []
    first = shards[0][1].path
    for planned in plan.tensors:
        if planned.name not in places:
            yield Problem(first, planned.name, "is missing")
            continue
        _, there, tensor = places.pop(planned.name)
        if (tensor.info.dtype, tensor.info.shape) != (planned.block_type, planned.shape):
            shape, expected = shape_text(tensor.info.shape), shape_text(planned.shape)
            message = f"is {tensor.info.dtype} {shape}, and would be {planned.block_type} {expected}"
            yield Problem(there.path, planned.name, message)
        else:
            alike.append(planned)
    for name, (_, there, _) in places.items():
        yield Problem(there.path, name, "would not be made")
    if len(shards) == len(plan.files):
        for (file, there), planned_file in zip(shards, plan.files, strict=True):
            if file.read(len(planned_file.header), 0) != planned_file.header:
                yield Problem(there.path, None, _OTHER_KEYS)
    elif not _same_keys(plan, [there for _, there in shards]):
        yield Problem(first, None, _OTHER_KEYS)
    for file, there in shards:
        yield from _padding(file, there)
    yield from _compare(replace(plan, tensors=tuple(alike)), shards, options, progress)


@dataclass(slots=True)
class _Difference:
    """Rows of a tensor that differ."""

    count: int
    first: int


class _Comparer:
    """The sink that compares with what is in the files."""

    def __init__(self, plan: Plan, shards: Sequence[tuple[StoredFile, File]]) -> None:
        there = {name: (file, t.offset) for file, h in shards for name, t in h.tensors.items()}
        self._there = [there[t.name] for t in plan.tensors]
        self._lock = threading.Lock()
        self.differences: dict[int, _Difference] = {}

    def take(self, block: Block, encoding: Encoding, rows: Rows, encoded: NDArray[np.uint8]) -> None:
        ((_, number),) = encoding.targets
        (file, offset), width = self._there[number], encoding.row_bytes
        step = max(1, _CHUNK // max(1, width))
        for row in range(0, len(encoded), step):
            piece = encoded[row : row + step]
            data = np.empty(piece.shape, np.uint8)
            file.read_into(data.data.cast("B"), offset + (block.start + row) * width)
            different = np.flatnonzero((data != piece).any(axis=1))
            if different.size:
                self._add(number, block.start + row + int(different[0]), int(different.size))

    def memory(self, work: TensorWork, rows: int) -> int:
        widest = max(encoding.row_bytes for encoding in work.encodings)
        return 2 * min(max(_CHUNK, widest), rows * widest)

    def _add(self, tensor: int, first: int, count: int) -> None:
        with self._lock:
            total = self.differences.setdefault(tensor, _Difference(0, first))
            total.count += count
            total.first = min(total.first, first)


def _compare(
    plan: Plan, shards: Sequence[tuple[StoredFile, File]], options: RunOptions, progress: Progress
) -> Iterator[Problem]:
    sink = _Comparer(plan, shards)
    segments = pipeline.segments([(work, 0, work.rows) for work in pipeline.works_of([plan])])
    pipeline.run(segments, sink, threads=options.threads, memory_limit=options.memory, progress=progress)
    paths = {name: h.path for _, h in shards for name in h.tensors}
    for number, difference in sorted(sink.differences.items()):
        t = plan.tensors[number]
        message = f"{difference.count} of {t.rows} rows differ, the first is row {difference.first}"
        yield Problem(paths[t.name], t.name, message)


def _same_keys(plan: Plan, files: Sequence[File]) -> bool:
    """Whether the keys of ``files`` make the header of the plan's first file, those of the split aside."""
    infos = [TensorInfo(t.name, t.block_type, t.shape) for t in plan.tensors if t.file == 0]
    whole = whole_metadata(files)
    split = shard_metadata(whole, 0, len(plan.files), len(plan.tensors))
    return plan.files[0].header in [header(keys, infos).header for keys in (whole, split)]


def _padding(file: StoredFile, there: File) -> Iterator[Problem]:
    """Each tensor is filled up to the alignment with zeros."""
    for name, tensor in there.tensors.items():
        size = padded(tensor.size, there.alignment) - tensor.size
        if file.read(size, tensor.offset + tensor.size) != bytes(size):
            yield Problem(there.path, name, f"is not followed by {size} zeros, which fill up its place")
