"""What is to be done, in row blocks: each read once and encoded once for every output that wants the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from qconv.convert.options import Part
from qconv.convert.ranges import Ranges
from qconv.convert.values import FLOATS
from qconv.errors import PlanError
from qconv.formats import block_types
from qconv.plan import Plan, TensorPlan
from qconv.types import Recipe

Target = tuple[int, int]
"""Number of an output, number of a tensor in its plan."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """Bytes that one or more outputs want of a tensor."""

    stored: str
    block_type: str
    search: str
    importance: NDArray[np.float32] | None
    row_bytes: int
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor made by one recipe, and all encodings wanted of it."""

    name: str
    recipe: Recipe
    rows: int
    columns: int
    encodings: tuple[Encoding, ...]

    @property
    def source_row(self) -> int:
        """Bytes of one row as the recipe hands it out."""
        return block_types()[self.recipe.dtype].row_bytes(self.columns)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Rows ``[start, stop)`` of a tensor and the encodings still wanted of them."""

    tensor: Tensor
    start: int
    stop: int
    encodings: tuple[Encoding, ...]

    @property
    def size(self) -> int:
        """Bytes read."""
        return (self.stop - self.start) * self.tensor.source_row


def tensors(plans: Sequence[Plan]) -> list[Tensor]:
    """The plans' tensors, those alike in name, shape and recipe as one; in the order of the first plan."""
    alike: dict[tuple[object, ...], list[tuple[Target, TensorPlan]]] = {}
    for output, plan in enumerate(plans):
        for number, tensor in enumerate(plan.tensors):
            key = (tensor.name, tensor.shape, tensor.recipe.dtype, tensor.recipe.describe())
            alike.setdefault(key, []).append(((output, number), tensor))
    return [_tensor(plans, found) for found in alike.values()]


def share(all_tensors: Sequence[Tensor], part: Part | None) -> list[tuple[Tensor, int, int]]:
    """The rows of each tensor that are a part's to do: equal shares of the bytes read, in order.

    Follows from the plans alone, so that processes with other threads or memory agree.
    """
    if part is None:
        return [(t, 0, t.rows) for t in all_tensors]
    total = sum(t.rows * t.source_row for t in all_tensors)
    first, last = (total * n // part.count for n in (part.number - 1, part.number))
    found = []
    before = 0
    for t in all_tensors:
        found.append((t, _row_at(t, first - before), _row_at(t, last - before) if part.number < part.count else t.rows))
        before += t.rows * t.source_row
    return found


def segments(work: Iterable[tuple[Tensor, int, int]], done: Sequence[Sequence[Ranges]]) -> Iterator[Block]:
    """The rows that some output is missing, cut where what is missing or the importance matrix changes.

    ``done``: of each output, of each tensor of its plan.
    """
    for tensor, start, stop in work:
        edges = {start, stop}
        for encoding in tensor.encodings:
            if encoding.importance is not None:
                edges.update(range(0, tensor.rows, max(1, tensor.rows // len(encoding.importance))))
            for output, number in encoding.targets:
                edges.update(row for pair in done[output][number] for row in pair)
        cuts = sorted(e for e in edges if start <= e <= stop)
        for a, b in pairwise(cuts):
            wanted = tuple(_wanted(tensor.encodings, done, a, b))
            if wanted:
                yield Block(tensor, a, b, wanted)


def blocks(found: Iterable[Block], rows: Callable[[Tensor], int]) -> Iterator[Block]:
    """Segments cut into row blocks of as many rows as ``rows`` says for their tensor."""
    for segment in found:
        tensor = segment.tensor
        step = rows(tensor)
        for row in range(segment.start, segment.stop, step):
            yield Block(tensor, row, min(segment.stop, row + step), segment.encodings)


def _tensor(plans: Sequence[Plan], alike: Sequence[tuple[Target, TensorPlan]]) -> Tensor:
    _, model = alike[0]
    encodings: dict[tuple[object, ...], list[tuple[Target, TensorPlan]]] = {}
    for target, tensor in alike:
        weighed = b"" if tensor.importance is None else hashlib.sha256(tensor.importance.tobytes()).digest()
        key = (tensor.stored, tensor.block_type, plans[target[0]].search, weighed)
        encodings.setdefault(key, []).append((target, tensor))
    found = []
    for same in encodings.values():
        (output, _), tensor = same[0]
        row_bytes = block_types()[tensor.block_type].row_bytes(tensor.columns)
        for _, each in same:
            if each.block_type != each.recipe.dtype and each.recipe.dtype not in FLOATS:
                raise PlanError(f"{each.recipe.dtype} cannot become {each.block_type}", tensor=each.name)
            if each.size != row_bytes * each.rows:
                raise PlanError(f"{each.size} bytes are planned, {row_bytes * each.rows} needed", tensor=each.name)
        targets = tuple(target for target, _ in same)
        search = plans[output].search
        found.append(Encoding(tensor.stored, tensor.block_type, search, tensor.importance, row_bytes, targets))
    return Tensor(model.name, model.recipe, model.rows, model.columns, tuple(found))


def _row_at(tensor: Tensor, offset: int) -> int:
    """The first row that starts at or after byte ``offset`` of the tensor as read."""
    if offset <= 0 or not tensor.source_row:
        return 0
    row = -(-offset // tensor.source_row)
    return min(row, tensor.rows)


def _wanted(
    encodings: Iterable[Encoding], done: Sequence[Sequence[Ranges]], start: int, stop: int
) -> Iterator[Encoding]:
    """The encodings some output is missing for rows that are all done or all missing in each output."""
    for e in encodings:
        targets = tuple((o, n) for o, n in e.targets if done[o][n].missing(start, stop))
        if targets:
            yield Encoding(e.stored, e.block_type, e.search, e.importance, e.row_bytes, targets)
