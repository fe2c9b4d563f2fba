"""Checkpoints in memory and plans for them, made by hand, so that nothing else of qconv is needed to test converting.

Expected bytes are worked out here with numpy or by ``struct``, not by what is tested.
"""

from __future__ import annotations

import errno
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv import conversion
from qconv.conversion import Disk, Result
from qconv.options import RunOptions
from qconv.pipeline import Progress
from qconv.plan import NonFinite, OutputFile, Plan, TensorPlan
from qconv.storage import FileIdentity, LocalFile
from qconv.tensors import LazyTensor
from qconv.types import Rows

BYTES = {"F32": 4, "F16": 2, "BF16": 2}
NUMPY = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
Q8_0_BLOCK, Q8_0_BYTES = 32, 34


@dataclass
class Memory:
    """Tensors by name: arrays of float32, float16 or uint16 (bfloat16 bits).  ``before`` is called before each read."""

    arrays: Mapping[str, NDArray[Any]]
    before: Callable[[], None] = lambda: None
    reads: int = 0

    def read(self, name: str, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        self.before()
        self.reads += 1
        rows = self.arrays[name].reshape(-1, self.arrays[name].shape[-1])[start:stop]
        if out is None:
            return rows.copy()
        view = out[: rows.nbytes].view(rows.dtype).reshape(rows.shape)
        view[:] = rows
        return view


@dataclass(frozen=True)
class Copy:
    """A lazy tensor: the rows of one array of ``memory``; ``factor`` makes it a computation in float32."""

    source: str
    shape: tuple[int, ...]
    dtype: str
    factor: float | None = None
    row_group: int = 1
    resident_bytes: int = 0
    memory_of_a_row: int = 0
    arrays: Memory | None = field(default=None, compare=False, repr=False)

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    @property
    def key(self) -> tuple[object, ...]:
        return ("Copy", self.source, self.shape, self.dtype, self.factor)

    def memory(self, rows: int) -> int:
        return rows * self.memory_of_a_row

    def prepare(self) -> LazyTensor:
        return self

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        assert self.arrays is not None
        if self.factor is None:
            return self.arrays.read(self.source, start, stop, out)
        rows = self.arrays.read(self.source, start, stop)
        wide = (rows.astype(np.uint32) << 16).view(np.float32) if rows.dtype == np.uint16 else rows.astype(np.float32)
        return wide * np.float32(self.factor)

    def describe(self) -> str:
        return self.source if self.factor is None else f"{self.source} * {self.factor}"


@dataclass
class Sketch:
    """A tensor of a plan to be: where its rows come from, and the type it is wanted in."""

    name: str
    tensor: LazyTensor
    block_type: str
    intermediate_type: str | None = None
    importance: NDArray[np.float32] | None = None


def plan(
    name: str,
    sketches: Sequence[Sketch],
    *,
    shards: int = 1,
    sources: Sequence[FileIdentity] = (),
    non_finite: NonFinite = "refuse",
) -> Plan:
    """A plan of files with headers of 64 made-up bytes; tensors go round the files, each padded to 32 bytes."""
    ends = [64] * shards
    tensors = []
    for number, s in enumerate(sketches):
        file = number % shards
        weights = math.prod(s.tensor.shape)
        size = weights * BYTES[s.block_type] if s.block_type in BYTES else weights // Q8_0_BLOCK * Q8_0_BYTES
        between = s.intermediate_type or s.tensor.dtype
        fields = (s.name, s.tensor.shape, s.tensor, between, s.block_type, "sketched", None, file, ends[file], size)
        tensors.append(TensorPlan(*fields, s.importance))
        ends[file] += -(-size // 32) * 32
    names = [name] if shards == 1 else [f"{name}-{i + 1}" for i in range(shards)]
    files = tuple(OutputFile(n, f"{n:64}".encode(), end) for n, end in zip(names, ends, strict=True))
    return Plan("sketch", "reference", files, tuple(tensors), tuple(sources), non_finite=non_finite)


def bound(made: Plan, memory: Memory) -> Plan:
    """The plan with its tensors read from ``memory``."""
    tensors = tuple(
        replace(t, tensor=replace(t.tensor, arrays=memory) if isinstance(t.tensor, Copy) else t.tensor)
        for t in made.tensors
    )
    return replace(made, tensors=tensors)


def run(
    plans: Sequence[Plan],
    memory: Memory,
    directories: Sequence[Path],
    options: RunOptions | None = None,
    progress: Progress | None = None,
    *,
    record: Mapping[str, object] | None = None,
    disk: Disk | None = None,
) -> list[Result]:
    """``conversion.run`` of plans whose tensors are in memory."""
    plans = [bound(made, memory) for made in plans]
    with _sources(plans) as sources:
        return conversion.run(plans, sources, directories, options, progress, record=record, disk=disk)


def finish(
    plans: Sequence[Plan], directories: Sequence[Path], options: RunOptions | None = None, *, disk: Disk | None = None
) -> list[Result]:
    """``conversion.finish``."""
    with _sources(plans) as sources:
        return conversion.finish(plans, sources, directories, options, disk=disk)


@contextmanager
def _sources(plans: Sequence[Plan]) -> Iterator[list[LocalFile]]:
    with ExitStack() as stack:
        paths = dict.fromkeys(Path(source.location) for made in plans for source in made.sources)
        yield [stack.enter_context(closing(LocalFile(path))) for path in paths]


def expected(made: Plan, encoded: Mapping[str, bytes]) -> list[bytes]:
    """The files of a plan, given the bytes of each of its tensors."""
    files = [bytearray(f.header.ljust(f.size, b"\0")) for f in made.files]
    for t in made.tensors:
        assert len(encoded[t.name]) == t.size
        files[t.file][t.offset : t.offset + t.size] = encoded[t.name]
    return [bytes(f) for f in files]


def bf16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """bfloat16 bits of float32 values that have no bits below them."""
    bits: NDArray[np.uint16] = (values.view(np.uint32) >> 16).astype(np.uint16)
    return bits


def some(seed: int, *shape: int) -> NDArray[np.uint16]:
    """Random bfloat16 weights."""
    return bf16(np.random.default_rng(seed).standard_normal(shape, np.float32))


CALLS = (
    *("open", "close", "read", "pread", "pwrite", "fdatasync", "fsync", "truncate"),
    *("rename", "unlink", "lock", "fstat", "stat", "free", "kind", "beginning_with"),
)


class FaultyDisk(Disk):
    """Its ``nth`` call (from 0) of ``call`` fails with ``error``; ``failed`` says whether it came to that."""

    def __init__(self, call: str, nth: int, error: int = errno.EIO) -> None:
        self.failed = False
        real = getattr(self, call)
        number = itertools.count()

        def counted(*args: Any) -> Any:
            if next(number) != nth:
                return real(*args)
            self.failed = True
            if call == "close":
                real(*args)  # as Linux does: the descriptor is gone even when closing fails
            raise OSError(error, "injected fault")

        setattr(self, call, counted)


@dataclass
class Watcher:
    """A progress that keeps what it is told."""

    size: int = -1
    resumed: int = -1
    done: int = 0
    finished: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def begin(self, size: int, tensors: int, resumed: int) -> None:
        self.size, self.resumed = size, resumed

    def advance(self, tensor: str, size: int) -> None:
        self.done += size

    def finish_tensor(self, tensor: str) -> None:
        self.finished.append(tensor)

    def note(self, text: str) -> None:
        self.notes.append(text)


def left_over(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())
