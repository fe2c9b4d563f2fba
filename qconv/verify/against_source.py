"""Are these the bytes that encoding the source again gives?"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from qconv.convert import crew, schedule
from qconv.convert.options import Options, Progress
from qconv.convert.pool import Stop
from qconv.convert.ranges import Ranges
from qconv.convert.schedule import Target
from qconv.convert.tally import Tally
from qconv.errors import FormatError, InputError
from qconv.files import begins_with
from qconv.gguf import File, Tensor, header, padded, shard_metadata, whole_metadata
from qconv.plan import Plan, TensorPlan
from qconv.types import Rows, TensorInfo, TensorReader
from qconv.verify.report import Problem

_CHUNK = 1 << 20
_OTHER_KEYS = "the metadata differ (`qconv compare` shows how)"


def problems(
    plan: Plan, reader: TensorReader, files: Sequence[File], options: Options, progress: Progress
) -> Iterator[Problem]:
    """Carries ``plan`` out against ``files``, a model's shards in order, as convert would into files of its own."""
    places = {name: (number, tensor) for number, file in enumerate(files) for name, tensor in file.tensors.items()}
    alike: list[TensorPlan] = []
    for planned in plan.tensors:
        number, found = places.pop(planned.name, (0, None))
        if found is None:
            yield Problem(files[0].path, planned.name, "is missing")
        elif (found.info.dtype, found.info.shape) != (planned.block_type, planned.shape):
            shape, expected = (" x ".join(map(str, s)) for s in (found.info.shape, planned.shape))
            message = f"is {found.info.dtype} {shape}, and would be {planned.block_type} {expected}"
            yield Problem(files[number].path, planned.name, message)
        else:
            alike.append(planned)
    for name, (number, _) in places.items():
        yield Problem(files[number].path, name, "would not be made")
    if len(files) == len(plan.files):
        for file, planned_file in zip(files, plan.files, strict=True):
            if not begins_with(file.path, planned_file.header):
                yield Problem(file.path, None, _OTHER_KEYS)
    elif not _same_keys(plan, files):
        yield Problem(files[0].path, None, _OTHER_KEYS)
    for file in files:
        yield from _padding(file)
    yield from _compare(replace(plan, tensors=tuple(alike)), reader, files, options, progress)


@dataclass(slots=True)
class _Difference:
    """Rows of a tensor that differ."""

    count: int
    first: int


class _Against:
    """The sink that compares with what is in the files."""

    def __init__(self, plan: Plan, files: Sequence[File], descriptors: Sequence[int]) -> None:
        where = {name: (number, t) for number, file in enumerate(files) for name, t in file.tensors.items()}
        self._places: list[tuple[int, Tensor]] = [where[t.name] for t in plan.tensors]
        self._files = files
        self._descriptors = descriptors
        self._lock = threading.Lock()
        self.differences: dict[int, _Difference] = {}

    def take(self, target: Target, start: int, stop: int, data: Rows) -> None:
        number, tensor = self._places[target[1]]
        row_bytes = data.nbytes // (stop - start)
        view = np.ascontiguousarray(data).data.cast("B")
        step = max(1, _CHUNK // max(1, row_bytes))
        for row in range(0, stop - start, step):
            piece = view[row * row_bytes : (row + step) * row_bytes]
            there = self._read(number, tensor, len(piece), (start + row) * row_bytes)
            if there != piece:
                rows = len(piece) // row_bytes
                different = [
                    start + row + i
                    for i in range(rows)
                    if there[i * row_bytes : (i + 1) * row_bytes] != piece[i * row_bytes : (i + 1) * row_bytes]
                ]
                self._add(target[1], different)

    def _read(self, number: int, tensor: Tensor, size: int, offset: int) -> bytes:
        path = self._files[number].path
        try:
            data = os.pread(self._descriptors[number], size, tensor.offset + offset)
        except OSError as e:
            raise InputError(f"cannot be read: {e.strerror}", file=path) from e
        if len(data) < size:
            raise FormatError("ends inside the tensor", file=path, tensor=tensor.info.name)
        return data

    def _add(self, tensor: int, rows: Sequence[int]) -> None:
        with self._lock:
            found = self.differences.setdefault(tensor, _Difference(0, rows[0]))
            found.count += len(rows)
            found.first = min(found.first, rows[0])


def _compare(
    plan: Plan, reader: TensorReader, files: Sequence[File], options: Options, progress: Progress
) -> Iterator[Problem]:
    work = schedule.share(schedule.tensors([plan]), None)
    segments = list(schedule.segments(work, [[Ranges() for _ in plan.tensors]]))
    tally = Tally(work, segments, progress)
    if not segments:
        return
    with ExitStack() as stack:
        descriptors = [stack.enter_context(file.path.open("rb", buffering=0)).fileno() for file in files]
        sink = _Against(plan, files, descriptors)
        crew.carry_out(segments, reader, sink, options, tally, Stop(), lambda: None)
    paths = {name: file.path for file in files for name in file.tensors}
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


def _padding(file: File) -> Iterator[Problem]:
    """Each tensor is filled up to the alignment with zeros."""
    try:
        with file.path.open("rb", buffering=0) as opened:
            for name, tensor in file.tensors.items():
                size = padded(tensor.size, file.alignment) - tensor.size
                if os.pread(opened.fileno(), size, tensor.offset + tensor.size) != bytes(size):
                    yield Problem(file.path, name, f"is not followed by {size} zeros, which fill up its place")
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror}", file=file.path) from e
