"""Operations on several tensors: one after another, or one above another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import (
    Combined,
    LazyTensor,
    RowRange,
    buffer,
    memory_of_rows,
    n_rows,
    names,
    read_into,
    refuse,
)
from qconv.tensors.dtypes import FLOATS
from qconv.tensors.elementwise import widen
from qconv.tensors.registry import combination
from qconv.types import Rows, shape_text


@dataclass(frozen=True, slots=True)
class Joined(Combined):
    """``groups`` times a run of rows of each part in turn, in ``new_shape``; 1-D parts have elements for rows."""

    groups: int
    label: str
    new_shape: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.new_shape

    def memory(self, rows: int) -> int:
        if len(self.new_shape) == 1:
            return sum(memory_of_rows(part, 1) for part in self.parts)
        return Combined.memory(self, rows)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        if len(self.new_shape) == 1 and stop > start:
            position = 0
            for part in self.parts:
                read_into(part, 0, 1, target[:1, position : position + part.shape[0]].reshape(1, -1))
                position += part.shape[0]
            return target
        row = 0
        for part, first, last in self.reads(start, stop):
            read_into(part, first, last, target[row : row + last - first])
            row += last - first
        return target

    def reads(self, start: int, stop: int) -> Iterator[RowRange]:
        if len(self.new_shape) == 1:
            yield from (RowRange(part, 0, 1) for part in self.parts if stop > start)
            return
        runs = [n_rows(part) // self.groups for part in self.parts]
        edges = np.cumsum([0, *runs])
        row = start
        while row < stop:
            group, within = divmod(row, int(edges[-1]))
            which = int(np.searchsorted(edges, within, "right")) - 1
            count = min(stop - row, int(edges[which + 1]) - within)
            first = group * runs[which] + within - int(edges[which])
            yield RowRange(self.parts[which], first, first + count)
            row += count

    def describe(self) -> str:
        return f"{self.label}{list(self.new_shape)}({names(self.parts)})"


def _alike(label: str, parts: Sequence[LazyTensor]) -> Sequence[LazyTensor]:
    """``parts`` in one type: float32 where they have several, as torch has it of F32 and F16."""
    kinds = {part.dtype for part in parts}
    if len(kinds) > 1 and kinds <= set(FLOATS):
        return [part if part.dtype == "F32" else widen(part) for part in parts]
    for part in parts[1:]:
        if part.dtype != parts[0].dtype:
            raise refuse(label, part, f"it is {part.dtype}, {parts[0].sources[0]} is {parts[0].dtype}")
    return parts


def join(label: str, parts: Sequence[LazyTensor], axis: int) -> LazyTensor:
    """Parts one after another along ``axis``, which may not be the last of several."""
    parts = _alike(label, parts)
    shape = parts[0].shape
    for part in parts:
        if (*part.shape[:axis], *part.shape[axis + 1 :]) != (*shape[:axis], *shape[axis + 1 :]):
            raise refuse(label, part, f"{parts[0].sources[0]} is {shape_text(shape)}")
    joined = (*shape[:axis], sum(part.shape[axis] for part in parts), *shape[axis + 1 :])
    return Joined(tuple(parts), math.prod(shape[:axis]), label, joined)


@combination
def stack(parts: Sequence[LazyTensor]) -> LazyTensor:
    """One above another along a new first dimension: experts."""
    parts = _alike("stack", parts)
    shape = parts[0].shape
    for part in parts:
        if part.shape != shape:
            raise refuse("stack", part, f"{parts[0].sources[0]} is {shape_text(shape)}")
    return Joined(tuple(parts), 1, "stack", (len(parts), *shape))
