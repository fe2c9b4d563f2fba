"""How large row blocks may be, how many workers there is memory for, and what a row block costs in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from qconv.blocks import TILE_ROWS
from qconv.errors import UsageError
from qconv.pipeline.encoding import SLICE
from qconv.pipeline.schedule import TensorWork
from qconv.tensors import memory_of_rows, rounds

ROW_BLOCK = 1 << 20
"""Weights read at once, unless memory is short: enough that Python's share of the work is small."""

_SMALLEST = 1 << 12
_TILE_BYTES = 48
"""Bytes for each weight of a tile rounded by a Hessian: several copies in float32, products, decoded blocks."""
_BESIDE_FACTOR = 64 << 20
"""Bytes that are left for row blocks beside a Hessian's factor, at least."""


def cost(work: TensorWork, rows: int) -> int:
    """Bytes at most in memory while ``rows`` rows of a tensor are worked on, beside what is resident.

    Rounding before encoding widens slices of rows.
    """
    encoded = max((e.row_bytes for e in work.encodings), default=0)
    rounded = any(rounds(work.tensor.dtype, e.intermediate_type) for e in work.encodings)
    widest = max(work.columns, SLICE) if rounded else SLICE
    needed = memory_of_rows(work.tensor, rows) + rows * encoded + 24 * min(widest, rows * work.columns)
    return needed if work.hessian is None else needed + _TILE_BYTES * TILE_ROWS * work.columns


Cost: TypeAlias = Callable[[TensorWork, int], int]
"""Bytes at most in memory while so many rows of a tensor are worked on."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """``row_block``: weights of a common row block.  ``common``: bytes a worker takes for one.

    ``gate``: bytes that row blocks larger than that share: long single rows, and the wide blocks of tensors whose rows
    are best read in groups.  ``resident``: bytes that tensors may hold that are prepared at once.
    """

    workers: int
    row_block: int
    common: int
    gate: int
    resident: int
    cost: Cost = cost

    def rows(self, work: TensorWork) -> int:
        """Rows of a row block of a tensor."""
        rows = _rows(work, self.row_block)
        group = work.tensor.row_group
        if group == 1:
            return rows
        fixed, share = self.cost(work, 0), self.gate // self.workers
        grouped = max(rows, min(group, (share - fixed) // max(1, self.cost(work, 1) - fixed)))
        return grouped if work.hessian is None else grouped - grouped % TILE_ROWS


def _rows(work: TensorWork, row_block: int) -> int:
    """Rows that ``row_block`` weights are; whole tiles of what is rounded by a Hessian."""
    rows = max(1, row_block // max(1, work.columns))
    return rows if work.hessian is None else max(TILE_ROWS, rows - rows % TILE_ROWS)


def enough(works: Iterable[TensorWork], cost: Cost = cost) -> int:
    """Bytes with which tensors that are rounded by Hessians can be worked on; 0 where none is."""
    wide = [w for w in works if w.hessian is not None]
    beside = max((2 * cost(w, TILE_ROWS) for w in wide), default=0)
    return max(beside, _BESIDE_FACTOR) + max(w.resident_bytes for w in wide) if wide else 0


def fit(works: Iterable[TensorWork], threads: int, budget: int, cost: Cost = cost) -> Sizes:
    """Row blocks as large as useful while all workers' take at most half the budget, all of it when no row is long.

    Raises UsageError when a single row, or what a tensor holds, does not fit.
    """
    works = list(works)
    resident = max(works, key=lambda w: w.resident_bytes, default=None)
    held = 0 if resident is None else resident.resident_bytes
    most = budget // 2 if resident is None or resident.hessian is None else max(budget // 2, budget - _BESIDE_FACTOR)
    if resident is not None and held > most:
        more = 2 * held - budget if resident.hessian is None else held - most
        raise _too_little(resident, "holds", held, most, more)
    all_held = max(held, min(budget // 2, sum(w.resident_bytes for w in works)))
    budget -= all_held
    row_block = ROW_BLOCK
    while True:
        small = [w for w in works if w.columns <= row_block]
        large = [w for w in works if w.columns > row_block]
        common = max((cost(w, min(max(1, w.rows), _rows(w, row_block))) for w in small), default=0)
        share = budget // 2 if large or any(w.tensor.row_group > 1 for w in works) else budget
        if threads * common <= share or row_block == _SMALLEST:
            break
        row_block //= 2
    workers = max(1, min(threads, share // common)) if common else threads
    gate = max(0, budget - workers * common)
    for work in large:
        if cost(work, 1) > gate:
            raise _too_little(work, "one row needs", cost(work, 1), gate, cost(work, 1) - gate)
    return Sizes(workers, row_block, common, gate, all_held, cost)


def _too_little(work: TensorWork, what: str, needed: int, given: int, more: int) -> UsageError:
    return UsageError(
        f"{what} {needed:,} bytes at once, and there are {given:,}",
        tensor=work.name,
        hint=f"raise --memory (400MB when it is not given) by {more // 1_000_000 + 1}MB",
    )
