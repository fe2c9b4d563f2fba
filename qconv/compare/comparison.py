"""Compares two sides: keys first, then tensors, row block by row block in several threads."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qconv import blocks, pipeline, policy
from qconv.compare.error import Error
from qconv.compare.sides import Side
from qconv.pipeline import Block, Encoding, Progress, TensorWork
from qconv.tensors import as_float32, convert, is_blocks, memory_of_rows, rounds
from qconv.types import Metadata, Rows, Value, ValueType, without_leading_ones

_OF_A_TYPE = ("general.file_type", "general.quantization_version")
"""Keys that say how a file is quantized, which a checkpoint is not."""

Shapes = tuple[str, tuple[int, ...], tuple[int, ...]]
"""A tensor's name and its shape on either side."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Metadata keys: only in the other, only in the reference, in both with another type or value."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[tuple[str, Value, Value], ...]

    @property
    def same(self) -> bool:
        return not (self.added or self.removed or self.changed)


@dataclass(slots=True)
class TensorDifference:
    """One tensor that both sides have in the same shape.  ``equal``: stored in the same type and the same bytes.

    ``shape`` is the other side's; the reference's may have more or fewer leading dimensions of 1.
    """

    name: str
    role: str
    layer: int | None
    reference_type: str
    type: str
    shape: tuple[int, ...]
    error: Error = field(default_factory=Error)
    equal: bool = True


@dataclass(frozen=True, slots=True)
class Comparison:
    """The outcome; ``tensors`` with the worst relative error first.

    ``reshaped``: name, the reference's shape, the other's.  ``led_by_ones``: likewise, where only leading dimensions of
    1 differ.  llama-quantize drops those and llama.cpp reads both alike, so that they make no difference.
    """

    keys: Keys
    added: tuple[str, ...]
    removed: tuple[str, ...]
    reshaped: tuple[Shapes, ...]
    led_by_ones: tuple[Shapes, ...]
    retyped: tuple[str, ...]
    tensors: tuple[TensorDifference, ...]

    @property
    def same(self) -> bool:
        return (
            self.keys.same
            and not (self.added or self.removed or self.reshaped or self.retyped)
            and all(t.equal for t in self.tensors)
        )

    def totals(self, key: Callable[[TensorDifference], str]) -> dict[str, tuple[int, Error]]:
        """Tensors and summed errors by ``key``, in the order of first appearance."""
        totals: dict[str, tuple[int, Error]] = {}
        for t in sorted(self.tensors, key=lambda t: t.name):
            count, error = totals.get(key(t), (0, Error()))
            error += t.error
            totals[key(t)] = (count + 1, error)
        return totals


def compare(
    reference: Side, other: Side, *, threads: int | None = None, progress: Progress | None = None
) -> Comparison:
    """What differs in ``other``; raises what reading either side raises."""
    ours, theirs = reference.tensors, other.tensors
    both = [name for name in ours if name in theirs]
    types_count = not (reference.is_checkpoint or other.is_checkpoint)
    shapes = [(n, ours[n].shape, theirs[n].shape) for n in both if ours[n].shape != theirs[n].shape]
    reshaped = {n: (n, a, b) for n, a, b in shapes if without_leading_ones(a) != without_leading_ones(b)}
    paired = [n for n in both if n not in reshaped]
    sink = _Differences(reference, other, paired)
    works = [pipeline.as_read(name, ours[name]) for name in paired]
    segments = pipeline.segments([(work, 0, work.rows) for work in works])
    pipeline.run(segments, sink, threads=threads, progress=progress)
    return Comparison(
        keys=_keys(reference.metadata, other.metadata, () if types_count else _OF_A_TYPE),
        added=tuple(name for name in theirs if name not in ours),
        removed=tuple(name for name in ours if name not in theirs),
        reshaped=tuple(reshaped.values()),
        led_by_ones=tuple(s for s in shapes if s[0] not in reshaped),
        retyped=tuple(n for n in paired if types_count and ours[n].dtype != theirs[n].dtype),
        tensors=tuple(sink.summed()),
    )


def _keys(ours: Metadata, theirs: Metadata, ignored: tuple[str, ...]) -> Keys:
    return Keys(
        added=tuple(k for k in theirs if k not in ours and k not in ignored),
        removed=tuple(k for k in ours if k not in theirs and k not in ignored),
        changed=tuple(
            (k, ours[k], theirs[k]) for k in ours if k in theirs and k not in ignored and not _equal(ours[k], theirs[k])
        ),
    )


def _equal(a: Value, b: Value) -> bool:
    """Same type, same value as written: a checkpoint's floats are not rounded to their type yet."""
    if (a.type, a.element) != (b.type, b.element):
        return False
    kind = a.element or a.type
    if kind is ValueType.STRING:
        one, two = ([v.data] if a.element is None else v.data for v in (a, b))
        return len(one) == len(two) and all(_bytes(x) == _bytes(y) for x, y in zip(one, two, strict=True))
    x, y = np.asarray(a.data), np.asarray(b.data)
    if kind is ValueType.FLOAT32:
        x, y = x.astype(np.float32), y.astype(np.float32)
    return x.shape == y.shape and bool(np.array_equal(x, y, equal_nan=x.dtype.kind == "f"))


def _bytes(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


class _Differences:
    """The sink that measures how far rows of the reference are from the other side's, which it reads itself."""

    def __init__(self, reference: Side, other: Side, names: Sequence[str]) -> None:
        self._exact = not (reference.is_checkpoint or other.is_checkpoint)
        self._other = other.tensors
        self._lock = threading.Lock()
        self._errors: dict[str, dict[int, Error]] = {name: {} for name in names}
        self._differences = {
            name: TensorDifference(
                name,
                policy.role(name),
                policy.layer(name),
                reference.types[name],
                other.types[name],
                other.tensors[name].shape,
            )
            for name in names
        }

    def take(self, block: Block, encoding: Encoding, rows: Rows, encoded: NDArray[np.uint8]) -> None:
        name, there = block.work.name, self._other[block.work.name]
        theirs = there.read(block.start, block.stop)
        error = Error()
        ours_type, difference = block.work.tensor.dtype, self._differences[name]
        ours = _widened(rows, ours_type, difference.reference_type)
        error.add(ours, _widened(theirs, there.dtype, difference.type))
        same_bytes = ours_type == there.dtype and np.array_equal(encoded, np.ascontiguousarray(theirs).view(np.uint8))
        with self._lock:
            self._errors[name][block.start] = error
            self._differences[name].equal &= same_bytes if self._exact else error.same

    def memory(self, work: TensorWork, rows: int) -> int:
        """The other side's rows, either side widened, their difference, and what the sums take."""
        return memory_of_rows(self._other[work.name], rows) + 16 * rows * work.columns

    def summed(self) -> list[TensorDifference]:
        """The worst first; sums are taken in the order of rows, whatever order they were measured in."""
        for name, difference in self._differences.items():
            for _, error in sorted(self._errors[name].items()):
                difference.error += error
        return sorted(self._differences.values(), key=lambda t: (-_badness(t.error), t.name))


def _widened(rows: Rows, dtype: str, kind: str) -> NDArray[np.float32]:
    """Rows of a storage type as float32; integers and F64 are rounded.

    ``kind``: the type that the tensor counts as: what a checkpoint's architecture computes in float32 is rounded to it,
    as the converter does.
    """
    if is_blocks(dtype):
        return blocks.decode(dtype, np.ascontiguousarray(rows).view(np.uint8))
    if rounds(dtype, kind):
        rows, dtype = convert(rows, dtype, kind), kind
    return as_float32(rows, dtype)


def _badness(error: Error) -> float:
    return math.inf if math.isnan(error.relative_rmse) else error.relative_rmse
