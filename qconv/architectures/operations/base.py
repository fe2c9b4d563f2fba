"""What recipes share: a tensor as it stands, reading into buffers, widening to float32."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.errors import PlanError
from qconv.formats import block_types
from qconv.types import Recipe, Rows, TensorInfo, TensorReader

NUMPY_TYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
"""Element types of rows by storage type; rows of block types are bytes."""


def row_type(dtype: str, columns: int) -> tuple[Any, int]:
    """numpy type and number of elements of a row of ``columns`` weights."""
    if dtype in NUMPY_TYPES:
        return NUMPY_TYPES[dtype], columns
    return np.uint8, block_types()[dtype].row_bytes(columns)


def columns(recipe: Recipe) -> int:
    return recipe.shape[-1] if recipe.shape else 1


def n_rows(recipe: Recipe) -> int:
    return math.prod(recipe.shape[:-1])


def buffer(recipe: Recipe, count: int, out: NDArray[np.uint8] | None) -> Rows:
    """An array for ``count`` rows of ``recipe``, in ``out`` when that is given."""
    kind, width = row_type(recipe.dtype, columns(recipe))
    if out is None:
        return np.empty((count, width), kind)
    size = count * width * np.dtype(kind).itemsize
    rows: Rows = out.reshape(-1)[:size].view(kind).reshape(count, width)
    return rows


def read_into(recipe: Recipe, reader: TensorReader, start: int, stop: int, target: Rows) -> None:
    """Rows ``[start, stop)`` into the contiguous array ``target``, without a copy where the recipe can."""
    rows = recipe.read(reader, start, stop, target.reshape(-1).view(np.uint8))
    if rows.__array_interface__["data"][0] != target.__array_interface__["data"][0]:
        target[...] = rows.reshape(target.shape)


def as_float32(rows: Rows, dtype: str) -> NDArray[np.float32]:
    """Rows of a plain type as float32; exact for F16 and BF16."""
    if dtype == "BF16":
        return (rows.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return np.asarray(rows, dtype=np.float32)


def refuse(operation: str, recipe: Recipe, why: str) -> PlanError:
    """The error for a tensor an operation does not fit."""
    shape = " x ".join(map(str, recipe.shape)) or "a single value"
    return PlanError(
        f"{operation} does not fit {shape}: {why}",
        tensor=recipe.sources[0] if recipe.sources else None,
        hint="config.json and weights do not belong together",
    )


@dataclass(frozen=True, slots=True)
class Source:
    """A source tensor as it stands."""

    info: TensorInfo

    @property
    def shape(self) -> tuple[int, ...]:
        return self.info.shape

    @property
    def dtype(self) -> str:
        return self.info.dtype

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.info.name,)

    @property
    def held(self) -> int:
        return 0

    def read(self, reader: TensorReader, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        return reader.read(self.info.name, start, stop, out)

    def describe(self) -> str:
        return self.info.name


@dataclass(frozen=True, slots=True)
class Constant:
    """A tensor computed from the config."""

    name: str
    data: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def sources(self) -> tuple[str, ...]:
        return ()

    @property
    def held(self) -> int:
        return 0

    def read(self, reader: TensorReader, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        return self.data.reshape(-1, columns(self))[start:stop]

    def describe(self) -> str:
        return f"{self.name} {self.data.astype('<f4').tobytes().hex()}"


@dataclass(frozen=True, slots=True)
class Derived:
    """Base of recipes made from one other: rows, type and shape are the inner one's unless overridden."""

    inner: Recipe

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
    def held(self) -> int:
        return self.inner.held


@dataclass(frozen=True, slots=True)
class Combined:
    """Base of recipes made from several of one type."""

    parts: tuple[Recipe, ...]

    @property
    def dtype(self) -> str:
        return self.parts[0].dtype

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(name for part in self.parts for name in part.sources)

    @property
    def held(self) -> int:
        return max(part.held for part in self.parts)
