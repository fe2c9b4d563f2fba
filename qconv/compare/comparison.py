"""Compares two sides: keys first, then tensors, row block by row block in several threads."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import numpy as np

from qconv.compare.error import Error
from qconv.compare.sides import Side, widened
from qconv.policy import roles
from qconv.types import Metadata, TensorInfo, Value, ValueType

_BLOCK = 1 << 20
"""Weights compared at a time by one thread; a dozen arrays of so many numbers are its memory."""

_LOOK = 0.2
"""Seconds between two looks at whether Ctrl-C was pressed: a signal that comes just before a wait does not end it."""

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
        found: dict[str, tuple[int, Error]] = {}
        for t in sorted(self.tensors, key=lambda t: t.name):
            count, error = found.get(key(t), (0, Error()))
            error += t.error
            found[key(t)] = (count + 1, error)
        return found


def compare(
    reference: Side, other: Side, *, threads: int = 1, progress: Callable[[str, int], None] | None = None
) -> Comparison:
    """What differs in ``other``; ``progress`` is told a tensor's name and how many of its weights were compared."""
    ours, theirs = reference.tensors, other.tensors
    both = [name for name in ours if name in theirs]
    types_count = not (reference.is_checkpoint or other.is_checkpoint)
    shapes = [(n, ours[n].shape, theirs[n].shape) for n in both if ours[n].shape != theirs[n].shape]
    reshaped = {n: (n, a, b) for n, a, b in shapes if _without_leading_ones(a) != _without_leading_ones(b)}
    paired = [n for n in both if n not in reshaped]
    return Comparison(
        keys=_keys(reference.metadata, other.metadata, () if types_count else _OF_A_TYPE),
        added=tuple(name for name in theirs if name not in ours),
        removed=tuple(name for name in ours if name not in theirs),
        reshaped=tuple(reshaped.values()),
        led_by_ones=tuple(s for s in shapes if s[0] not in reshaped),
        retyped=tuple(n for n in paired if types_count and ours[n].dtype != theirs[n].dtype),
        tensors=tuple(_tensors(reference, other, paired, threads, progress or (lambda name, weights: None))),
    )


def _without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """What tells one tensor from another in ggml, where every tensor has as many of those as it takes."""
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape or (1,)


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


def _tensors(
    reference: Side, other: Side, names: list[str], threads: int, progress: Callable[[str, int], None]
) -> list[TensorDifference]:
    found = {
        name: TensorDifference(
            name,
            roles.role(name),
            roles.layer(name),
            reference.tensors[name].dtype,
            other.tensors[name].dtype,
            other.tensors[name].shape,
        )
        for name in names
    }

    exact = not (reference.is_checkpoint or other.is_checkpoint)

    def one(name: str, start: int, stop: int) -> tuple[str, Error, bool]:
        (a, type_a), (b, type_b) = reference.read(name, start, stop), other.read(name, start, stop)
        error = Error()
        error.add(widened(a, type_a), widened(b, type_b))
        equal = type_a == type_b and a.tobytes() == b.tobytes() if exact else error.same
        return name, error, equal

    def take(done: Future[tuple[str, Error, bool]]) -> None:
        while not done.done():
            wait([done], _LOOK)
        name, error, equal = done.result()
        found[name].error += error
        found[name].equal &= equal
        progress(name, error.weights)

    waiting: deque[Future[tuple[str, Error, bool]]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for name, start, stop in _blocks([reference.tensors[name] for name in names]):
            waiting.append(pool.submit(one, name, start, stop))
            if len(waiting) > 2 * threads:
                take(waiting.popleft())
        while waiting:
            take(waiting.popleft())
    except BaseException as e:
        # a thread may be compiling a decoder, or hang in a read: Ctrl-C waits for neither
        pool.shutdown(wait=not isinstance(e, KeyboardInterrupt), cancel_futures=True)
        raise
    pool.shutdown()
    return sorted(found.values(), key=lambda t: (-_badness(t.error), t.name))


def _badness(error: Error) -> float:
    return math.inf if math.isnan(error.relative_rmse) else error.relative_rmse


def _blocks(tensors: list[TensorInfo]) -> Iterator[tuple[str, int, int]]:
    for t in tensors:
        step = max(1, _BLOCK // max(1, t.columns))
        for start in range(0, t.rows if t.columns else 0, step):
            yield t.name, start, min(t.rows, start + step)
