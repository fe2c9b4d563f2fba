"""What a lazy tensor is, and what all of them share.

A lazy tensor knows its shape and type from headers alone and reads any range of its rows.  Whatever makes a tensor from
others is one of these: stored, widened, dequantized, viewed, joined, transposed.  They are frozen values.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from qconv.errors import PlanError
from qconv.tensors.dtypes import array_type, row_bytes
from qconv.types import Rows, shape_text

_PIECE = 1 << 17


class LazyTensor(Protocol):
    """A tensor that is read when it is needed, by any number of threads at once.

    Its rows are its elements seen as ``(prod(shape[:-1]), shape[-1])``.  ``dtype``: the storage type of what ``read``
    returns.  ``sources``: names of the stored tensors it is made from.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> str: ...

    @property
    def sources(self) -> tuple[str, ...]: ...

    @property
    def key(self) -> Hashable:
        """Equal keys mean equal tensors; made of tuples, strings and numbers, so that its ``repr`` lasts."""
        ...

    @property
    def row_group(self) -> int:
        """Rows best read together: reading one reads all that the others of its group need.  1 for most."""
        ...

    @property
    def resident_bytes(self) -> int:
        """Bytes that ``prepare`` makes it hold until the last of its rows is read; 0 for most."""
        ...

    def memory(self, rows: int) -> int:
        """Bytes at most taken, beside the result and what is resident, while ``rows`` rows are read."""
        ...

    def prepare(self) -> LazyTensor:
        """The same tensor with what all of its rows depend on at hand, read or computed now; itself for most.

        Called once before rows are read.  An unprepared tensor reads the same rows at a higher price.
        """
        ...

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        """Rows ``[start, stop)``, ``(stop - start, shape[-1])``; of a block type, bytes.

        ``out``: a contiguous buffer of at least that many bytes to read into; the result may then be a view of it.
        """
        ...

    def describe(self) -> str:
        """One line for people and manifests: operations and sources."""
        ...


class RowRange(NamedTuple):
    """Rows ``[start, stop)`` of a tensor."""

    tensor: LazyTensor
    start: int
    stop: int


@runtime_checkable
class ReadsColumns(Protocol):
    """A lazy tensor that can read some columns without the others."""

    def read_columns(self, start: int, stop: int, first: int, last: int) -> Rows:
        """Columns ``[first, last)`` of rows ``[start, stop)``."""
        ...


class Keyed:
    """A dataclass whose key follows from its fields; those that say ``compare=False`` do not count."""

    __slots__ = ()

    def reads(self, start: int, stop: int) -> Iterator[RowRange]:
        """Which rows of its inputs reading its rows ``[start, stop)`` takes, so that they can be fetched before.

        An estimate: the same share of each input, unless a class knows better.
        """
        rows = max(1, n_rows(self))  # type: ignore[arg-type]  # what derives from it is a lazy tensor
        for inner in self.inputs():
            count = n_rows(inner)
            yield RowRange(inner, start * count // rows, -(-stop * count // rows))

    def inputs(self) -> Iterator[LazyTensor]:
        """The tensors it is made from."""
        for f in fields(self):  # type: ignore[arg-type]  # a dataclass
            value = getattr(self, f.name)
            for each in value if isinstance(value, tuple) else (value,):
                if hasattr(each, "prepare"):
                    yield each

    @property
    def key(self) -> Hashable:
        counted = (getattr(self, f.name) for f in fields(self) if f.compare)  # type: ignore[arg-type]  # a dataclass
        return (type(self).__name__, *map(_key_of, counted))


def _key_of(value: Any) -> Hashable:
    if isinstance(value, tuple):
        return tuple(map(_key_of, value))
    key: Hashable = getattr(value, "key", value)
    return key


@dataclass(frozen=True, slots=True)
class Unary(Keyed):
    """Base of tensors made from one other: rows, type and shape are the inner one's unless overridden."""

    inner: LazyTensor

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inner.shape

    @property
    def dtype(self) -> str:
        return self.inner.dtype

    @property
    def sources(self) -> tuple[str, ...]:
        return self.inner.sources

    @property
    def row_group(self) -> int:
        return self.inner.row_group

    @property
    def resident_bytes(self) -> int:
        return self.inner.resident_bytes

    def memory(self, rows: int) -> int:
        """That of the inner tensor's rows and of what reading them takes."""
        return memory_of_rows(self.inner, rows)

    def prepare(self) -> Self:
        inner = self.inner.prepare()
        return self if inner is self.inner else replace(self, inner=inner)


@dataclass(frozen=True, slots=True)
class Combined(Keyed):
    """Base of tensors made from several of one type, which are read one after another."""

    parts: tuple[LazyTensor, ...]

    @property
    def dtype(self) -> str:
        return self.parts[0].dtype

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(name for part in self.parts for name in part.sources)

    @property
    def row_group(self) -> int:
        return max(part.row_group for part in self.parts)

    @property
    def resident_bytes(self) -> int:
        return sum(part.resident_bytes for part in self.parts)

    def memory(self, rows: int) -> int:
        return max(memory_of_rows(part, min(rows, n_rows(part))) for part in self.parts)

    def prepare(self) -> Self:
        parts = tuple(part.prepare() for part in self.parts)
        same = all(a is b for a, b in zip(parts, self.parts, strict=True))
        return self if same else replace(self, parts=parts)


def columns(tensor: LazyTensor) -> int:
    return tensor.shape[-1] if tensor.shape else 1


def n_rows(tensor: LazyTensor) -> int:
    return math.prod(tensor.shape[:-1])


def bytes_of_rows(tensor: LazyTensor, rows: int) -> int:
    """Bytes of ``rows`` rows as the tensor hands them out."""
    return rows * row_bytes(tensor.dtype, columns(tensor))


def memory_of_rows(tensor: LazyTensor, rows: int) -> int:
    """Bytes of ``rows`` rows and of what reading them takes."""
    return bytes_of_rows(tensor, rows) + tensor.memory(rows)


def buffer(tensor: LazyTensor, count: int, out: NDArray[np.uint8] | None) -> Rows:
    """An array for ``count`` rows of ``tensor``, in ``out`` when that is given."""
    kind, width = array_type(tensor.dtype), row_bytes(tensor.dtype, columns(tensor))
    raw = np.empty(count * width, np.uint8) if out is None else out.reshape(-1)[: count * width]
    rows: Rows = raw.view(kind).reshape(count, width // kind.itemsize)
    return rows


def row_pieces(rows: int, width: int) -> Iterator[slice]:
    """Slices of ``rows`` rows whose ``width`` numbers each stay in a core's own cache while they are worked on."""
    step = max(1, _PIECE // max(1, width))
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))


def read_into(tensor: LazyTensor, start: int, stop: int, target: Rows) -> None:
    """Rows ``[start, stop)`` into the contiguous array ``target``, without a copy where the tensor can."""
    rows = tensor.read(start, stop, target.reshape(-1).view(np.uint8))
    if rows.__array_interface__["data"][0] != target.__array_interface__["data"][0]:
        target[...] = rows.reshape(target.shape)


def read_columns(tensor: LazyTensor, start: int, stop: int, first: int, last: int) -> Rows:
    """Columns ``[first, last)`` of rows ``[start, stop)``, read without the others where the tensor can."""
    if isinstance(tensor, ReadsColumns) and (first, last) != (0, columns(tensor)):
        return tensor.read_columns(start, stop, first, last)
    rows: Rows = tensor.read(start, stop)[:, first:last]
    return rows


def read_whole(tensor: LazyTensor) -> Rows:
    """All rows of a small tensor."""
    return tensor.prepare().read(0, n_rows(tensor))


def names(parts: Sequence[LazyTensor]) -> str:
    """The parts' descriptions, with commas."""
    return ", ".join(part.describe() for part in parts)


def refuse(operation: str, tensor: LazyTensor, why: str) -> PlanError:
    """The error for a tensor an operation does not fit."""
    return PlanError(
        f"{operation} does not fit {shape_text(tensor.shape)}: {why}",
        tensor=tensor.sources[0] if tensor.sources else None,
        hint="config.json and weights do not belong together",
    )
