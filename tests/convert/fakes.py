"""Checkpoints in memory and plans for them, made by hand, so that nothing else of qconv is needed to test converting.

Expected bytes are worked out here with numpy or by ``struct``, not by what is tested.
"""

from __future__ import annotations

import errno
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.convert.disk import Disk
from qconv.plan import OutputFile, Plan, TensorPlan
from qconv.types import Recipe, Rows, TensorInfo, TensorReader

BYTES = {"F32": 4, "F16": 2, "BF16": 2}
NUMPY = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
Q8_0_BLOCK, Q8_0_BYTES = 32, 34


@dataclass
class MemoryReader:
    """Tensors by name: arrays of float32, float16 or uint16 (bfloat16 bits).  ``before`` is called before each read."""

    arrays: dict[str, NDArray[Any]]
    before: Callable[[], None] = lambda: None
    reads: int = 0

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        names = {np.dtype(np.float32): "F32", np.dtype(np.float16): "F16", np.dtype(np.uint16): "BF16"}
        return {n: TensorInfo(n, names[a.dtype], a.shape) for n, a in self.arrays.items()}

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
    """A recipe: the rows of one tensor as they are; ``factor`` makes it a computation in float32."""

    source: str
    shape: tuple[int, ...]
    dtype: str
    factor: float | None = None
    held: int = 0

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def read(self, reader: TensorReader, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        if self.factor is None:
            return reader.read(self.source, start, stop, out)
        rows = reader.read(self.source, start, stop)
        wide = (rows.astype(np.uint32) << 16).view(np.float32) if rows.dtype == np.uint16 else rows.astype(np.float32)
        return wide * np.float32(self.factor)

    def describe(self) -> str:
        return self.source if self.factor is None else f"{self.source} * {self.factor}"


@dataclass
class Sketch:
    """A tensor of a plan to be: its recipe, and the type it is wanted in."""

    name: str
    recipe: Recipe
    block_type: str
    stored: str | None = None
    importance: NDArray[np.float32] | None = None


def plan(
    name: str, sketches: Sequence[Sketch], *, shards: int = 1, sources: Sequence[tuple[str, int, int]] = ()
) -> Plan:
    """A plan of files with headers of 64 made-up bytes; tensors go round the files, each padded to 32 bytes."""
    ends = [64] * shards
    tensors = []
    for number, s in enumerate(sketches):
        file = number % shards
        weights = math.prod(s.recipe.shape)
        size = weights * BYTES[s.block_type] if s.block_type in BYTES else weights // Q8_0_BLOCK * Q8_0_BYTES
        stored = s.stored or s.recipe.dtype
        fields = (s.name, s.recipe.shape, s.recipe, stored, s.block_type, "sketched", None, file, ends[file], size)
        tensors.append(TensorPlan(*fields, s.importance))
        ends[file] += -(-size // 32) * 32
    names = [name] if shards == 1 else [f"{name}-{i + 1}" for i in range(shards)]
    files = tuple(OutputFile(n, f"{n:64}".encode(), end) for n, end in zip(names, ends, strict=True))
    return Plan("sketch", "reference", files, tuple(tensors), tuple(sources))


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
    *("rename", "unlink", "lock", "fstat", "stat", "free", "beginning_with"),
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
