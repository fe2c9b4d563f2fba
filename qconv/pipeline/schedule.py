"""What is to be done, in row blocks: each read once and encoded once for every output that wants the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qconv.blocks import TILE_ROWS
from qconv.errors import PlanError
from qconv.formats import block_types
from qconv.pipeline.ranges import Ranges
from qconv.plan import NonFinite, Plan, TensorPlan
from qconv.tensors import FLOATS, LazyTensor, bytes_of_rows, columns, n_rows

if TYPE_CHECKING:
    from qconv.calibration import TensorHessian

Target = tuple[int, int]
"""Number of an output, number of a tensor in its plan."""


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """Bytes that one or more outputs want of a tensor.

    ``intermediate_type``: what values are rounded to before they are encoded as ``block_type``.  ``non_finite``: what
    becomes of NaN and infinity; where values share a scale these are always an error.
    """

    intermediate_type: str
    block_type: str
    search: str
    importance: NDArray[np.float32] | None
    row_bytes: int
    targets: tuple[Target, ...] = ()
    hessian: TensorHessian | None = None
    non_finite: NonFinite = "keep"


@dataclass(frozen=True, slots=True, eq=False)
class TensorWork:
    """A tensor that is read once, and all encodings wanted of it."""

    name: str
    tensor: LazyTensor
    encodings: tuple[Encoding, ...]

    @property
    def rows(self) -> int:
        """Rows to be read: none where they are empty."""
        return n_rows(self.tensor) if self.columns else 0

    @property
    def columns(self) -> int:
        return columns(self.tensor)

    @property
    def hessian(self) -> TensorHessian | None:
        """What some encoding's rounding goes by; all of a tensor's have the same."""
        return next((e.hessian for e in self.encodings if e.hessian is not None), None)

    @property
    def resident_bytes(self) -> int:
        """Bytes held until all rows are done."""
        return self.tensor.resident_bytes + (0 if self.hessian is None else self.hessian.resident_bytes)

    def matrix_start(self, row: int) -> int:
        """The first row of the matrix that has a Hessian of its own and ``row`` in it."""
        matrices = 1 if self.hessian is None else self.hessian.matrices
        return row - row % max(1, self.rows // matrices)

    @property
    def source_row(self) -> int:
        """Bytes of one row as the tensor hands it out."""
        return bytes_of_rows(self.tensor, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Rows ``[start, stop)`` of a tensor and the encodings still wanted of them."""

    work: TensorWork
    start: int
    stop: int
    encodings: tuple[Encoding, ...]

    @property
    def size(self) -> int:
        """Bytes read."""
        return (self.stop - self.start) * self.work.source_row


def as_read(name: str, tensor: LazyTensor) -> TensorWork:
    """A tensor whose rows are wanted as they are read: its one encoding is a copy."""
    copy = Encoding(tensor.dtype, tensor.dtype, "reference", None, bytes_of_rows(tensor, 1))
    return TensorWork(name, tensor, (copy,))


def works_of(plans: Sequence[Plan]) -> list[TensorWork]:
    """The plans' tensors, those alike in name, shape and key as one; in the order of the first plan."""
    alike: dict[tuple[object, ...], list[tuple[Target, TensorPlan]]] = {}
    for output, plan in enumerate(plans):
        for number, planned in enumerate(plan.tensors):
            key = (planned.name, planned.shape, planned.tensor.key)
            alike.setdefault(key, []).append(((output, number), planned))
    return [_work(plans, same) for same in alike.values()]


def share(works: Sequence[TensorWork], number: int, count: int) -> list[tuple[TensorWork, int, int]]:
    """The rows of each tensor that are share ``number`` (from 1) of ``count`` equal ones of the bytes read, in order.

    Follows from the works alone, so that processes with other threads or memory agree.
    """
    total = sum(w.rows * w.source_row for w in works)
    first, last = (total * n // count for n in (number - 1, number))
    shares = []
    before = 0
    for work in works:
        stop = _row_at(work, last - before) if number < count else work.rows
        shares.append((work, _row_at(work, first - before), stop))
        before += work.rows * work.source_row
    return shares


def segments(
    shares: Iterable[tuple[TensorWork, int, int]], done: Sequence[Sequence[Ranges]] | None = None
) -> Iterator[Block]:
    """The rows that some output is missing, cut where what is missing or the importance matrix changes.

    ``done``: of each output, of each tensor of its plan; None: nothing is.
    """
    for work, start, stop in shares:
        edges = {start, stop}
        for encoding in work.encodings:
            if encoding.importance is not None:
                edges.update(range(0, work.rows, max(1, work.rows // len(encoding.importance))))
            if encoding.hessian is not None:
                edges.update(range(0, work.rows, max(1, work.rows // encoding.hessian.matrices)))
            if done is not None:
                for output, number in encoding.targets:
                    edges.update(row for pair in done[output][number] for row in pair)
        cuts = sorted(e for e in edges if start <= e <= stop)
        for a, b in pairwise(cuts):
            wanted = work.encodings if done is None else tuple(_wanted(work.encodings, done, a, b))
            if wanted:
                yield Block(work, a, b, wanted)


def row_blocks(whole: Iterable[Block], rows: Callable[[TensorWork], int]) -> Iterator[Block]:
    """Segments cut into row blocks of as many rows as ``rows`` says for their tensor.

    Neighbours that are made from the same source, as gates and the rest of a stored matrix of both, take turns: what
    one has read is at hand when the other reads it.
    """
    for segments in _sharing(whole):
        blocks = zip_longest(*(_cut(segment, rows(segment.work)) for segment in segments))
        yield from (block for turn in blocks for block in turn if block is not None)


def _sharing(whole: Iterable[Block]) -> Iterator[list[Block]]:
    """Segments in order, those together that may take turns.  Tensors that hold memory while they are read do not."""
    together: list[Block] = []
    for segment in whole:
        if together and not _share(together[0], segment):
            yield together
            together = []
        together.append(segment)
    if together:
        yield together


def _share(one: Block, other: Block) -> bool:
    tensor, following = one.work.tensor, other.work.tensor
    return (
        one.work is not other.work
        and tensor.sources == following.sources
        and (one.start, one.stop) == (other.start, other.stop)
        and not tensor.resident_bytes
        and not following.resident_bytes
    )


def _cut(segment: Block, step: int) -> Iterator[Block]:
    for row in range(segment.start, segment.stop, step):
        yield Block(segment.work, row, min(segment.stop, row + step), segment.encodings)


def _work(plans: Sequence[Plan], alike: Sequence[tuple[Target, TensorPlan]]) -> TensorWork:
    _, first = alike[0]
    groups: dict[tuple[str, str, str, bytes, object, NonFinite], list[tuple[Target, TensorPlan]]] = {}
    for target, planned in alike:
        weighed = b"" if planned.importance is None else hashlib.sha256(planned.importance.tobytes()).digest()
        plan = plans[target[0]]
        hessian = None if planned.hessian is None else planned.hessian.key
        key = (planned.intermediate_type, planned.block_type, plan.search, weighed, hessian, plan.non_finite)
        groups.setdefault(key, []).append((target, planned))
    encodings = []
    for (intermediate_type, block_type, search, _, _, non_finite), same in groups.items():
        _, planned = same[0]
        row_bytes = block_types()[planned.block_type].row_bytes(planned.columns)
        for _, each in same:
            if each.block_type != each.tensor.dtype and each.tensor.dtype not in FLOATS:
                raise PlanError(f"{each.tensor.dtype} cannot become {each.block_type}", tensor=each.name)
            if each.size != row_bytes * each.rows:
                raise PlanError(f"{each.size} bytes are planned, {row_bytes * each.rows} needed", tensor=each.name)
        targets = tuple(target for target, _ in same)
        encodings.append(
            Encoding(
                intermediate_type,
                block_type,
                search,
                planned.importance,
                row_bytes,
                targets,
                planned.hessian,
                non_finite,
            )
        )
    return TensorWork(first.name, first.tensor, tuple(encodings))


def _row_at(work: TensorWork, offset: int) -> int:
    """The first row that starts at or after byte ``offset`` of the tensor as read."""
    if offset <= 0 or not work.source_row:
        return 0
    row = min(-(-offset // work.source_row), work.rows)
    if work.hessian is None or row == work.rows:
        return row
    start = work.matrix_start(row)  # tiles are never parted
    return row - (row - start) % TILE_ROWS


def _wanted(
    encodings: Iterable[Encoding], done: Sequence[Sequence[Ranges]], start: int, stop: int
) -> Iterator[Encoding]:
    """The encodings some output is missing for rows that are all done or all missing in each output."""
    for e in encodings:
        targets = tuple((o, n) for o, n in e.targets if done[o][n].missing(start, stop))
        if targets:
            yield replace(e, targets=targets)
