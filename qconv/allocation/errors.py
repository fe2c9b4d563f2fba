"""Rounding errors: a sample of each tensor's rows is encoded as every type it may get, and decoded again."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv import blocks, pipeline
from qconv.formats import block_types
from qconv.pipeline import Block, Encoding, Progress, TensorWork
from qconv.plan import dequantized
from qconv.policy import Decision
from qconv.tensors import LazyTensor, as_float32, columns
from qconv.types import Rows

Floats = NDArray[np.float32]

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
    segments = []
    for d in decisions:
        # blocks that stay as they are lose nothing more
        types = [t for t in menus.get(d.name, ()) if block_types()[t].weights > 1 and t != tensors[d.name].dtype]
        if not types:
            continue
        tensor = dequantized(tensors[d.name], "F32")
        encodings = tuple(
            Encoding(
                d.intermediate_type, t, search, importances.get(d.name), block_types()[t].row_bytes(columns(tensor))
            )
            for t in types
        )
        work = TensorWork(d.name, tensor, encodings)
        segments += list(pipeline.segments([(work, start, stop) for start, stop in samples(tensor.shape)]))
    pipeline.run(segments, sink, threads=threads, memory_limit=memory, progress=progress)
    return sink.table()


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
        self._sums: dict[tuple[str, str], dict[int, float]] = {}
        self._squares: dict[str, dict[int, NDArray[np.float64]]] = {}
        self._energies: dict[str, dict[int, float]] = {}
        self._rows: dict[str, dict[int, int]] = {}
        self._totals: dict[str, int] = {}

    def take(self, block: Block, encoding: Encoding, rows: Rows, encoded: NDArray[np.uint8]) -> None:
        name = block.work.name
        weights = as_float32(rows, block.work.tensor.dtype)
        weigh = self._weights(name, block)
        first = encoding is block.encodings[0]
        squares = _squares(weights) if first else np.zeros(0)
        error = _weighted(_squares(weights - blocks.decode(encoding.block_type, encoded)), weigh)
        with self._lock:
            self._sums.setdefault((name, encoding.block_type), {})[block.start] = error
            if first:
                self._squares.setdefault(name, {})[block.start] = squares
                self._energies.setdefault(name, {})[block.start] = _weighted(squares, weigh)
                self._rows.setdefault(name, {})[block.start] = block.stop - block.start
                self._totals[name] = block.work.rows

    def _weights(self, name: str, block: Block) -> Floats | None:
        importance = self._importances.get(name)
        return None if importance is None else importance[block.start * len(importance) // block.work.rows]

    def memory(self, work: TensorWork, rows: int) -> int:
        """Rows widened, decoded, and their difference."""
        return 16 * rows * work.columns

    def table(self) -> ErrorTable:
        grown = {name: total / max(1, sum(self._rows[name].values())) for name, total in self._totals.items()}
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
    """Σ values[r, c]² by column."""
    squares: NDArray[np.float64] = np.einsum("ij,ij->j", values, values, dtype=np.float64, casting="same_kind")
    return squares


def _weighted(squares: NDArray[np.float64], weigh: Floats | None) -> float:
    """Σ weigh[c] · squares[c]."""
    return float(squares.sum() if weigh is None else squares @ weigh.astype(np.float64))


def _summed(parts: Mapping[int, float]) -> float:
    """In the order of rows, whatever order they were measured in."""
    return sum(value for _, value in sorted(parts.items()))
