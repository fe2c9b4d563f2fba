"""Rounding errors: a sample of each tensor's rows is encoded as every type it may get, and decoded again."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qconv import blocks, pipeline
from qconv.formats import block_types
from qconv.pipeline import Block, Encoding, Progress, TensorWork
from qconv.plan import dequantized
from qconv.policy import Decision
from qconv.tensors import LazyTensor, Sample, as_float32, columns, n_rows
from qconv.types import Rows

Floats = NDArray[np.float32]
_Place: TypeAlias = tuple[int, int]
"""Number of a sample, first row of a block of it."""

_SHARE = 16
"""One row in so many is looked at."""
_FEWEST = 64
_WEIGHTS = 1 << 19
"""Weights that are enough of any tensor."""
_PLACES = 8
"""Places a sample is taken from; half as many made choices worse."""


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """Estimates from a sample of each tensor's rows.

    ``errors``: by tensor and block type Σ importance[c] · (w[r, c] - rounded w[r, c])² over the tensor.  ``energies``:
    Σ importance[c] · w[r, c]².  ``columns``: float64 ``(columns,)``, Σ w[r, c]² by column.
    ``importances``: float32 ``(matrices, columns)``, those that were given.
    """

    errors: Mapping[tuple[str, str], float]
    energies: Mapping[str, float]
    columns: Mapping[str, NDArray[np.float64]]
    importances: Mapping[str, Floats]


def rounding_errors(
    decisions: Sequence[Decision],
    menus: Mapping[str, Sequence[str]],
    tensors: Mapping[str, LazyTensor],
    importances: Mapping[str, Floats],
    *,
    search: str = "reference",
    threads: int | None = None,
    memory: int | None = None,
    progress: Progress | None = None,
) -> ErrorTable:
    """The errors of the tensors in ``menus`` as each of the types there.

    ``importances``: float32 ``(matrices, columns)``; a tensor without one counts all columns alike.
    """
    sink = _Errors(importances)
    works = []
    for d in decisions:
        # blocks that stay as they are lose nothing more
        types = [t for t in menus.get(d.name, ()) if block_types()[t].weights > 1 and t != tensors[d.name].dtype]
        if not types:
            continue
        tensor = dequantized(tensors[d.name], "F32")
        importance = importances.get(d.name)
        width = columns(tensor)
        for matrix, ranges in _by_matrix(tensor.shape, 1 if importance is None else len(importance)):
            weigh = None if importance is None else importance[matrix : matrix + 1]
            encodings = tuple(
                Encoding(d.intermediate_type, t, search, weigh, block_types()[t].row_bytes(width)) for t in types
            )
            works.append(TensorWork(d.name, Sample(tensor, ranges), encodings))
            sink.expect(works[-1], n_rows(tensor))
    segments = list(pipeline.segments([(work, 0, work.rows) for work in works]))
    pipeline.run(segments, sink, threads=threads, memory_limit=memory, progress=progress)
    return sink.table()


def _by_matrix(shape: tuple[int, ...], matrices: int) -> Iterator[tuple[int, tuple[tuple[int, int], ...]]]:
    """The ``samples`` that lie in each of a tensor's matrices, of those in which there are any."""
    rows = max(1, math.prod(shape[:-1]) // matrices)
    taken = list(samples(shape))
    for matrix in range(matrices):
        low, high = matrix * rows, (matrix + 1) * rows
        inside = tuple((max(start, low), min(stop, high)) for start, stop in taken if start < high and low < stop)
        if inside:
            yield matrix, inside


def samples(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Ranges of rows that stand for all of a tensor of that shape, spread evenly."""
    rows = math.prod(shape[:-1])
    count = min(rows, max(_FEWEST, min(rows // _SHARE, _WEIGHTS // max(1, shape[-1]))))
    places = min(_PLACES, count)
    for place in range(places):
        length = count * (place + 1) // places - count * place // places
        start = rows * place // places
        yield start, start + length


class _Errors:
    """The sink that decodes what was encoded."""

    def __init__(self, importances: Mapping[str, Floats]) -> None:
        self._importances = importances
        self._lock = threading.Lock()
        self._number: dict[TensorWork, int] = {}
        self._totals: dict[str, int] = {}
        self._rows: dict[str, int] = {}
        self._sums: dict[tuple[str, str], dict[_Place, float]] = {}
        self._squares: dict[str, dict[_Place, NDArray[np.float64]]] = {}
        self._energies: dict[str, dict[_Place, float]] = {}

    def expect(self, work: TensorWork, total: int) -> None:
        """Tells of a sample, or a part of one, of a tensor with ``total`` rows."""
        self._number[work] = len(self._number)
        self._totals[work.name] = total
        self._rows[work.name] = self._rows.get(work.name, 0) + work.rows

    def take(self, block: Block, encoding: Encoding, rows: Rows, encoded: NDArray[np.uint8]) -> None:
        name, place = block.work.name, (self._number[block.work], block.start)
        weights = as_float32(rows, block.work.tensor.dtype)
        weigh = None if encoding.importance is None else encoding.importance[0]
        first = encoding is block.encodings[0]
        squares = _squares(weights) if first else np.zeros(0)
        error = _weighted(_squares(weights - blocks.decode(encoding.block_type, encoded)), weigh)
        with self._lock:
            self._sums.setdefault((name, encoding.block_type), {})[place] = error
            if first:
                self._squares.setdefault(name, {})[place] = squares
                self._energies.setdefault(name, {})[place] = _weighted(squares, weigh)

    def memory(self, work: TensorWork, rows: int) -> int:
        """Rows widened, decoded, and their difference."""
        return 16 * rows * work.columns

    def table(self) -> ErrorTable:
        grown = {name: total / self._rows[name] for name, total in self._totals.items()}
        return ErrorTable(
            {key: grown[key[0]] * _summed(parts) for key, parts in self._sums.items()},
            {name: grown[name] * _summed(parts) for name, parts in self._energies.items()},
            {
                name: grown[name] * np.sum([v for _, v in sorted(parts.items())], axis=0)
                for name, parts in self._squares.items()
            },
            self._importances,
        )


def _squares(values: Floats) -> NDArray[np.float64]:
    """Σ values[r, c]² by column, summed up in float32: a sample's rows are few."""
    squares: NDArray[np.float64] = np.einsum("ij,ij->j", values, values).astype(np.float64)
    return squares


def _weighted(squares: NDArray[np.float64], weigh: Floats | None) -> float:
    """Σ weigh[c] · squares[c]."""
    return float(squares.sum() if weigh is None else squares @ weigh.astype(np.float64))


def _summed(parts: Mapping[_Place, float]) -> float:
    """In the order of rows, whatever order they were measured in."""
    return sum(value for _, value in sorted(parts.items()))
