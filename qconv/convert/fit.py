"""How large row blocks may be, and how many workers there is memory for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qconv.convert.cost import cost
from qconv.convert.schedule import Tensor
from qconv.errors import UsageError

ROW_BLOCK = 1 << 20
"""Weights read at once, unless memory is short: enough that Python's share of the work is small."""

_SMALLEST = 1 << 12


@dataclass(frozen=True, slots=True)
class Fit:
    """``row_block``: weights of a common row block.  ``common``: bytes a worker takes for one.

    ``gate``: bytes that row blocks larger than that share: long single rows, and the wide blocks of transposes, which
    read their whole source for each block.
    """

    workers: int
    row_block: int
    common: int
    gate: int

    def rows(self, tensor: Tensor) -> int:
        """Rows of a row block of a tensor."""
        rows = max(1, self.row_block // max(1, tensor.columns))
        if not tensor.recipe.held:
            return rows
        matrix = tensor.recipe.held // max(1, tensor.source_row)
        fixed, share = cost(tensor, 0), self.gate // self.workers
        return max(rows, min(matrix, (share - fixed) // max(1, cost(tensor, 1) - fixed)))


def fit(tensors: Iterable[Tensor], threads: int, budget: int) -> Fit:
    """Row blocks as large as useful while all workers' take at most half the budget, all of it when no row is long.

    Raises UsageError when a single row does not fit.
    """
    tensors = list(tensors)
    row_block = ROW_BLOCK
    while True:
        small = [t for t in tensors if t.columns <= row_block]
        large = [t for t in tensors if t.columns > row_block]
        common = max((cost(t, max(1, min(t.rows, row_block // max(1, t.columns)))) for t in small), default=0)
        share = budget // 2 if large or any(t.recipe.held for t in tensors) else budget
        if threads * common <= share or row_block == _SMALLEST:
            break
        row_block //= 2
    workers = max(1, min(threads, share // common)) if common else threads
    gate = max(0, budget - workers * common)
    for tensor in large:
        if cost(tensor, 1) > gate:
            raise UsageError(
                f"one row needs {cost(tensor, 1):,} bytes at once, and there are {gate:,}",
                tensor=tensor.name,
                hint=f"raise --memory (400MB when it is not given) by {(cost(tensor, 1) - gate) // 1_000_000 + 1}MB",
            )
    return Fit(workers, row_block, common, gate)
