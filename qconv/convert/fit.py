"""How large row blocks may be, and how many workers there is memory for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qconv.convert.schedule import Tensor
from qconv.convert.work import cost
from qconv.errors import UsageError

ROW_BLOCK = 1 << 20
"""Weights read at once, unless memory is short: enough that Python's share of the work is small."""

_SMALLEST = 1 << 12


@dataclass(frozen=True, slots=True)
class Fit:
    """``common``: bytes each worker's own row block may take.  ``gate``: bytes for row blocks larger than that."""

    workers: int
    row_block: int
    common: int
    gate: int
    excess: tuple[tuple[str, int], ...]
    """Tensors, and the bytes of their smallest piece of work, that do not fit through the gate."""


def fit(tensors: Iterable[Tensor], threads: int, budget: int) -> Fit:
    """Row blocks as large as useful while all workers' take at most half the budget, all of it when no row is long."""
    tensors = list(tensors)
    row_block = ROW_BLOCK
    while True:
        small = [t for t in tensors if t.columns <= row_block and not t.recipe.held]
        large = [t for t in tensors if t.columns > row_block or t.recipe.held]
        common = max((cost(t, max(1, min(t.rows, row_block // max(1, t.columns)))) for t in small), default=0)
        share = budget // 2 if large else budget
        if threads * common <= share or row_block == _SMALLEST:
            break
        row_block //= 2
    workers = max(1, min(threads, share // common)) if common else threads
    gate = max(0, budget - workers * common)
    needs = ((t.name, cost(t, t.rows if t.recipe.held else 1)) for t in large)
    return Fit(workers, row_block, common, gate, tuple((name, size) for name, size in needs if size > gate))


def refuse_excess(found: Fit) -> None:
    """Raises UsageError when a tensor does not fit into the memory the user granted."""
    for name, size in found.excess:
        more = (size - found.gate) // 1_000_000 + 1
        raise UsageError(
            f"{size:,} bytes are needed at once and --memory leaves {found.gate:,}",
            tensor=name,
            hint=f"raise --memory by {more}MB",
        )
