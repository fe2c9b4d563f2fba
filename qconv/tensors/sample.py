"""Some rows of a tensor, which stand for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import RowRange, Unary, buffer, columns, memory_of_rows, read_into
from qconv.types import Rows


@dataclass(frozen=True, slots=True)
class Sample(Unary):
    """Rows ``[start, stop)`` of ``inner`` for each of ``ranges``, one range after the other."""

    ranges: tuple[tuple[int, int], ...]
    count: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", sum(stop - start for start, stop in self.ranges))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.count, columns(self.inner)

    def memory(self, rows: int) -> int:
        longest = max((stop - start for start, stop in self.ranges), default=0)
        return memory_of_rows(self.inner, min(rows, longest))

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        filled = 0
        for _, first, last in self.reads(start, stop):
            read_into(self.inner, first, last, target[filled : filled + last - first])
            filled += last - first
        return target

    def reads(self, start: int, stop: int) -> Iterator[RowRange]:
        before = 0
        for first, last in self.ranges:
            low, high = max(first, first + start - before), min(last, first + stop - before)
            if low < high:
                yield RowRange(self.inner, low, high)
            before += last - first

    def describe(self) -> str:
        return f"sample of {self.count} rows({self.inner.describe()})"
