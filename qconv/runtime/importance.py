"""Importance: for every weight matrix, sums over the tokens of its input's squares, as llama-imatrix sums them.

Sums are float32 and taken token by token in llama-imatrix's order, each square rounded before it is added, so that
they are bit for bit those of the same build on processors without fused multiply-add in its tools (x86-64), and equal
to rounding elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qconv.errors import WeightError
from qconv.runtime.observe import Node
from qconv.runtime.results import Sums
from qconv.runtime.tensor import Tensors, rows_of

FEWEST_ROWS = 16
"""llama-imatrix passes over products with fewer tokens."""
OUTPUTS = ("output.weight", "token_embd.weight")
"""Names of the matrix that makes logits: its own, or the embeddings' where they are shared."""

_BLOCK = 256
"""Rows summed at once: small enough for the processor's cache."""


class ImportanceObserver:
    """Sums up the inputs of every layer's matrices; with ``output``, of the output matrix too.

    Matrices that share an input (queries, keys and values) share its sums.  A sum is a new array after each
    evaluation: while two matrices have had the same sum before, and see the same input now, they have the same after.
    """

    def __init__(self, tensors: Tensors, output: bool, start: dict[str, Sums]) -> None:
        self._tensors = tensors
        self._output = output
        self._sums = dict(start)
        self._shared: dict[tuple[int, int, int, int], tuple[Sums | None, Sums]] = {}

    def begin(self) -> None:
        self._shared.clear()

    def wants(self, node: Node) -> bool:
        t = self._tensors
        if node.ids:
            return True
        if t.rows(node.inputs) < FEWEST_ROWS or not node.is_float:
            return False
        return node.name.startswith("blk.") or (self._output and node.name in OUTPUTS)

    def observe(self, node: Node) -> None:
        shape = self._tensors.shape(node.weights)
        matrices = shape[0] * shape[1]
        before = self._sums.get(node.name)
        key = (node.inputs, node.ids, matrices, id(before))
        if key not in self._shared:
            grown = _checked(before, node, matrices)
            after = _add_chosen(grown, node) if node.ids else _add(grown, node, shape)
            if not np.isfinite(after.squares).all():
                raise WeightError("its input is not finite: NaN or infinity", tensor=node.name)
            self._shared[key] = (before, after)  # before is kept, so that its id stays its own
        self._sums[node.name] = self._shared[key][1]

    def sums(self) -> dict[str, Sums]:
        """The sums so far; summing goes on without changing them."""
        return dict(self._sums)


def _checked(before: Sums | None, node: Node, matrices: int) -> Sums:
    """Sums to add to: those there are, or zeros.  One count serves all matrices of a tensor, unless experts choose."""
    if before is None:
        shape = (matrices, node.columns)
        counts = np.zeros(matrices if node.ids else 1, np.int64)
        peaks = np.zeros(sum(map(len, _peaks(np.zeros((1, node.columns), np.float32)))))
        return Sums(np.zeros(shape, np.float32), np.zeros(shape, np.float32), counts, peaks)
    if before.squares.shape != (matrices, node.columns):
        raise WeightError(
            f"has an input of {node.columns} columns, before of {before.squares.shape[1]}", tensor=node.name
        )
    if node.ids and len(before.counts) != matrices:
        return replace(before, counts=np.repeat(before.counts, matrices))
    return before


def _add(before: Sums, node: Node, shape: tuple[int, int, int, int]) -> Sums:
    x = node.x
    squares, sums, peaks = before.squares.copy(), before.sums.copy(), before.peaks.copy()
    if len(squares) == 1:
        accumulate(squares[0], sums[0], rows_of(x))
        add_peaks(peaks, rows_of(x))
    else:
        for i3, i2 in np.ndindex(x.shape[:2]):
            matrix = i3 % shape[0] * shape[1] + i2 % shape[1]
            accumulate(squares[matrix], sums[matrix], x[i3, i2])
            add_peaks(peaks, x[i3, i2])
    rows = x.shape[0] * x.shape[1] * x.shape[2]
    return Sums(squares, sums, before.counts + rows // len(squares), peaks)


def _add_chosen(before: Sums, node: Node) -> Sums:
    squares, sums, counts = before.squares.copy(), before.sums.copy(), before.counts.copy()
    peaks = before.peaks.copy()
    for expert, rows in chosen_rows(node):
        accumulate(squares[expert], sums[expert], rows)
        add_peaks(peaks, rows)
        counts[expert] += len(rows)
    return Sums(squares, sums, counts, peaks)


def chosen_rows(node: Node) -> list[tuple[int, NDArray[np.float32]]]:
    """The rows each expert is given, of the experts that are chosen at all.

    Ordered as llama-imatrix takes them: all tokens' first choices, then all their second ones, and so on.
    """
    x, chosen = node.x[0], node.chosen  # (tokens, chosen or 1, columns), (tokens, chosen)
    tokens = len(chosen)
    experts = chosen.T.reshape(-1)
    order = np.argsort(experts, kind="stable")
    present, starts = np.unique(experts[order], return_index=True)
    groups = np.split(order, starts[1:])
    return [(int(e), x[at % tokens, at // tokens % x.shape[1]]) for e, at in zip(present, groups, strict=True)]


@dataclass(slots=True)
class _Scratch:
    """Memory kept between calls, so that it need not be found and cleared each time."""

    array: NDArray[np.float32]

    def shaped(self, rows: int, columns: int) -> NDArray[np.float32]:
        if self.array.size < rows * columns:
            self.array = np.empty(rows * columns, np.float32)
        return self.array[: rows * columns].reshape(rows, columns)


_scratch = _Scratch(np.empty(0, np.float32))


def accumulate(squares: NDArray[np.float32], sums: NDArray[np.float32], rows: NDArray[np.float32]) -> None:
    """Adds rows ``(n, columns)`` and their squares, one row after the other in float32, in place.

    numpy reduces along the first axis of a C-contiguous array row by row, if there is more than one column; the sum so
    far goes in as the first row.
    """
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        block = _scratch.shaped(len(part) + 1, len(squares))
        for total, fill in ((squares, np.square), (sums, np.positive)):
            block[0] = total
            fill(part, out=block[1:])
            np.add.reduce(block, axis=0, out=total)


PEAK_COLUMNS = (32, 256)
"""Columns that llama.cpp rounds to 8 bits with one scale, for weights in blocks of as many."""
_LOOKED_AT = 4
"""One row in so many is looked at for its peaks, which are close to each other."""


def add_peaks(peaks: NDArray[np.float64], rows: NDArray[np.float32]) -> None:
    """Adds the squares of the largest magnitudes in each 32 and each 256 columns of rows ``(n, columns)``, in place.

    The sums are rounded to float32, as files hold them, so that going on from a file's changes nothing.
    """
    if not len(rows) or not len(peaks):
        return
    sample = rows[::_LOOKED_AT]
    total = np.concatenate(_peaks(sample), axis=None)
    peaks[:] = (peaks + total * (len(rows) / len(sample))).astype(np.float32)


def _peaks(rows: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """For each width that divides the rows, sums over the rows of the squares of each block's largest magnitude."""
    sums = []
    largest, width = np.abs(rows), 1
    for columns in PEAK_COLUMNS:
        if rows.shape[1] % columns:
            continue
        largest = largest.reshape(len(rows), -1, columns // width).max(axis=2)
        width = columns
        sums.append(np.square(largest, dtype=np.float64).sum(axis=0))
    return sums
