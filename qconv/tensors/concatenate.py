"""Several tensors in one, put together as the runtime reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.tensors.base import Combined, LazyTensor, buffer, columns, names, refuse
from qconv.tensors.combine import join
from qconv.tensors.registry import combination
from qconv.types import Rows, shape_text


@combination
def one_after_another(parts: Sequence[LazyTensor]) -> LazyTensor:
    """The rows of each part in turn, or their values where they have one dimension."""
    return join("one_after_another", parts, axis=0)


@dataclass(frozen=True, slots=True)
class SideBySide(Combined):
    """Of matrices with as many rows each, the columns of each in turn."""

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.parts[0].shape[0], sum(map(columns, self.parts)))

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        target = buffer(self, stop - start, out)
        first = 0
        for part in self.parts:
            target[:, first : first + columns(part)] = part.read(start, stop)
            first += columns(part)
        return target

    def describe(self) -> str:
        return f"side_by_side({names(self.parts)})"


@combination
def side_by_side(parts: Sequence[LazyTensor]) -> LazyTensor:
    """One projection of several inputs, of which the checkpoint has one each."""
    for part in parts:
        if part.dtype != parts[0].dtype or len(part.shape) != 2 or part.shape[0] != parts[0].shape[0]:
            raise refuse(
                "side_by_side", part, f"{parts[0].sources[0]} is {shape_text(parts[0].shape)} {parts[0].dtype}"
            )
    return SideBySide(tuple(parts))
