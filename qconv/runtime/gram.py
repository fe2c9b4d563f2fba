"""Gram matrices of inputs: H = Σ x xᵀ over the tokens, for chosen weight matrices.

Matrices that read one input (queries, keys and values; gate and up) share one H.  Which they are is seen in the graph:
the same tensor, chosen by the same experts.

H is summed in float32, by BLAS, a few hundred tokens at a time.  Only the lower triangle is made and kept, in panels
of rows: an input of n columns takes little more than 2 n² bytes.  Threads share the panels; BLAS has one in each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qconv.errors import UsageError, WeightError
from qconv.runtime.importance import FEWEST_ROWS, chosen_rows
from qconv.runtime.observe import Node
from qconv.runtime.tensor import Tensors, rows_of

PANEL = 256
"""Rows of H made at once."""
_FEWEST = 256
"""Rows of x multiplied at once: with fewer, as experts see them, reading and writing H would take the time."""


class Triangle:
    """The lower triangle of a symmetric sum of products, in panels of ``PANEL`` rows; ``count`` rows were added."""

    def __init__(self, columns: int, pool: ThreadPoolExecutor) -> None:
        self.columns = columns
        self._pool = pool
        self.count = 0
        self._waiting: list[NDArray[np.float32]] = []
        self._panels = [
            np.zeros((min(PANEL, columns - start), min(start + PANEL, columns)), np.float32)
            for start in range(0, columns, PANEL)
        ]

    def add(self, x: NDArray[np.float32]) -> None:
        """Adds x xᵀ of every row of ``x`` ``(n, columns)``."""
        self.count += len(x)
        if len(x) >= _FEWEST:
            self._multiply(x)
            return
        self._waiting.append(x.copy())
        if sum(map(len, self._waiting)) >= _FEWEST:
            self._flush()

    def panels(self) -> list[NDArray[np.float32]]:
        """Rows of the triangle, from the top: float32 ``(rows, columns up to the last of these rows)``."""
        self._flush()
        return self._panels

    def _flush(self) -> None:
        if self._waiting:
            self._multiply(np.concatenate(self._waiting))
            self._waiting.clear()

    def _multiply(self, x: NDArray[np.float32]) -> None:
        def add(start: int, panel: NDArray[np.float32]) -> None:
            height, width = panel.shape
            panel += x[:, start : start + height].T @ x[:, :width]

        # the largest first
        list(self._pool.map(add, range(0, self.columns, PANEL)[::-1], self._panels[::-1]))


@dataclass(slots=True)
class _Input:
    """What several tensors read: their names, a triangle for each matrix, and what was added in this evaluation."""

    tensors: list[str]
    triangles: list[Triangle]
    added: tuple[int, int] | None = field(default=None)


class GramObserver:
    """Sums H for the tensors named; raises ``UsageError`` afterwards (``check``) when one of them was never seen."""

    def __init__(self, tensors: Tensors, names: Iterable[str], pool: ThreadPoolExecutor) -> None:
        self._tensors = tensors
        self._pool = pool
        self._names = frozenset(names)
        self._by_name: dict[str, _Input] = {}
        self._by_input: dict[tuple[int, int], _Input] = {}

    def begin(self) -> None:
        self._by_input.clear()
        for group in self._by_name.values():
            group.added = None

    def wants(self, node: Node) -> bool:
        if node.name not in self._names or not node.is_float:
            return False
        return bool(node.ids) or self._tensors.rows(node.inputs) >= FEWEST_ROWS

    def observe(self, node: Node) -> None:
        key = (node.inputs, node.ids)
        group = self._by_name.get(node.name)
        if group is None:
            group = self._by_input.get(key) or _Input([], self._triangles(node))
            group.tensors.append(node.name)
            self._by_name[node.name] = group
        if group.added is None:
            self._add(group, node)
            group.added = key
            self._by_input[key] = group
        elif group.added != key:
            others = ", ".join(name for name in group.tensors if name != node.name)
            raise UsageError(f"reads another input than {others}, which it shared before", tensor=node.name)

    def _triangles(self, node: Node) -> list[Triangle]:
        experts, matrices = self._tensors.shape(node.weights)[:2]
        return [Triangle(node.columns, self._pool) for _ in range(experts * matrices)]

    def _add(self, group: _Input, node: Node) -> None:
        if not np.isfinite(node.x).all():
            raise WeightError("its input is not finite: NaN or infinity", tensor=node.name)
        if node.ids:
            for expert, rows in chosen_rows(node):
                group.triangles[expert].add(rows)
            return
        d3, d2 = self._tensors.shape(node.weights)[:2]
        if len(group.triangles) == 1:
            group.triangles[0].add(rows_of(node.x))
            return
        for i3, i2 in np.ndindex(node.x.shape[:2]):
            group.triangles[i3 % d3 * d2 + i2 % d2].add(node.x[i3, i2])

    def check(self) -> None:
        missing = sorted(self._names - self._by_name.keys())
        if missing:
            raise UsageError("is not a weight matrix that the model multiplies with", tensor=missing[0])

    def triangles(self, names: Iterable[str] | None = None) -> Iterator[tuple[tuple[str, ...], int, Triangle]]:
        """The tensors that share an input, the number of the matrix in them, and its triangle; of all inputs, or of
        those that ``names`` read."""
        groups = self._by_name.values() if names is None else [self._by_name[name] for name in names]
        for group in {id(g): g for g in groups}.values():
            for matrix, triangle in enumerate(group.triangles):
                yield tuple(group.tensors), matrix, triangle
