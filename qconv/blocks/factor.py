"""What GPTQ needs of H = Σ x xᵀ: the upper Cholesky factor U of its inverse, H⁻¹ = Uᵀ U.

H is damped first, which draws it towards a diagonal one: H + damping · mean(diag(H)).

Neither H⁻¹ nor a square matrix is made.  H is split as M Mᵀ with M upper triangular, from the last columns to the
first, in float64.  U is M⁻¹, made in float32: damping keeps M's condition so low that this differs by little more than
float32's rounding.  Both work on panels of rows of the upper triangle.  Products are of shapes that depend on the
number of columns alone, each of one thread, so that results are the same on one machine whatever calls this, and with
any number of threads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.blas import single_threaded
from qconv.errors import UsageError, WeightError

PANEL = 256
"""Columns worked on at once: those of a super-block."""
TILE_ROWS = 128
"""Rows that are rounded together; row blocks begin at multiples of it (see ``gptq``)."""
DAMPING = 0.01
MOST_DAMPING = 100.0
"""A matrix that needs more is not a sum of squares."""
_SKETCH = 256
"""Combinations of the columns of M by which errors are estimated."""
_PIECE = 1024
"""Columns of a product that one thread sums over."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Factor:
    """U in float32, of an H of ``columns`` columns.

    ``panels``: columns of U down to their diagonal, ``(256 k + width, width)`` of panel ``k``.  ``root``: rows of
    M from their diagonal on, ``(width, columns - 256 k)``.  ``squares``: those of damped H on its diagonal, ``(width,
    width)``.  ``sketch``: float32 ``(columns, 256)``, M times a random matrix R with E[R Rᵀ] = 1, so
    that |v · sketch|² is an estimate of v H vᵀ.  ``importance``: float32 ``(columns,)``, H's diagonal.  ``added``:
    float32 ``(columns,)``, what damping added to it.
    """

    panels: tuple[NDArray[np.float32], ...]
    root: tuple[NDArray[np.float32], ...]
    squares: tuple[NDArray[np.float32], ...]
    sketch: NDArray[np.float32]
    importance: NDArray[np.float32]
    added: NDArray[np.float32]

    @property
    def columns(self) -> int:
        return len(self.importance)


def factor_bytes(columns: int) -> int:
    """Bytes that making a ``Factor`` takes at most: triangles of float32 and float64, and a few panels beside them."""
    return 6 * columns * (columns + PANEL) + 32 * PANEL * columns


def lower_panels(matrix: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    """The lower triangle of a square matrix as ``factorize`` takes it; views."""
    for start in range(0, len(matrix), PANEL):
        stop = min(start + PANEL, len(matrix))
        yield matrix[start:stop, :stop]


def factorize(
    panels: Iterable[NDArray[np.floating]], columns: int, damping: float = DAMPING, threads: int = 1
) -> Factor:
    """The factor of H + ``damping`` times the mean of its diagonal, by ``threads`` threads, and the same by any number.

    ``panels``: the lower triangle of H from the top, ``(256, columns up to the last of these rows)`` each, the last one
    of what rows are left.  Columns of zeros, which saw nothing, count as seen on their own.  Where rounding left H
    without a Cholesky factor, damping is raised until there is one.

    Raises WeightError for NaN and infinity, for diagonals below zero and for what is not a sum of x xᵀ; UsageError for
    panels of other shapes.
    """
    if not np.isfinite(damping) or damping <= 0:
        raise UsageError(f"a damping of {damping} damps nothing", hint="0.01 is usual")
    heights = [min(PANEL, columns - start) for start in range(0, columns, PANEL)]
    lower = _lower(panels, columns, heights)
    diagonal = np.concatenate(
        [panel[:, k * PANEL :].diagonal() for k, panel in enumerate(lower)] or [np.zeros(0)]
    ).astype(np.float64)
    seen = diagonal > 0
    if (diagonal < 0).any():
        raise WeightError(f"column {int((diagonal < 0).argmax())} of a Hessian has a sum of squares below zero")
    mean = float(diagonal[seen].mean()) if seen.any() else 1.0
    with single_threaded(), ThreadPoolExecutor(min(threads, max(1, len(lower)))) as pool:
        upper = _within(((height, columns - k * PANEL) for k, height in enumerate(heights)), np.float64)
        while True:
            added = np.where(seen, damping * mean, mean)
            _fill(upper, lower, added / mean, mean, pool)
            squares = tuple((panel[:, : len(panel)] * mean).astype(np.float32) for panel in upper)
            try:
                inverses = _split(upper, pool)
                break
            except np.linalg.LinAlgError:
                damping *= 10
                if damping > MOST_DAMPING:
                    raise WeightError("a Hessian is not a sum of products of inputs: it is not positive") from None
        del lower
        m = _as_float32(upper)
        del upper
        scale = np.float32(np.sqrt(mean))
        sketch = _sketch(m, pool) * scale
        panels_of_columns = _invert(m, inverses, scale, pool)
    for panel in m:
        panel *= scale
    return Factor(
        panels=tuple(panels_of_columns),
        root=tuple(m),
        squares=squares,
        sketch=sketch,
        importance=(diagonal + added).astype(np.float32),
        added=added.astype(np.float32),
    )


def _within(shapes: Iterable[tuple[int, ...]], dtype: Any) -> list[NDArray[Any]]:
    """Arrays of these shapes within one: its memory goes back to the system as a whole, that of many would not."""
    shapes = list(shapes)
    whole = np.empty(sum(map(math.prod, shapes)), dtype)
    ends = itertools.accumulate(map(math.prod, shapes))
    return [whole[end - math.prod(shape) : end].reshape(shape) for shape, end in zip(shapes, ends, strict=True)]


def _lower(panels: Iterable[NDArray[np.floating]], columns: int, heights: Sequence[int]) -> list[NDArray[np.floating]]:
    """Copies of panels of these heights, checked."""
    lower: list[NDArray[np.floating]] = []
    rows = 0
    for k, panel in enumerate(panels):
        if k >= len(heights) or panel.shape != (heights[k], k * PANEL + heights[k]):
            raise UsageError(f"panel {k} of a Hessian of {columns} columns is {panel.shape}")
        lower = lower or _within(((height, j * PANEL + height) for j, height in enumerate(heights)), panel.dtype)
        lower[k][:] = _finite(panel, k)
        rows += len(panel)
    if rows != columns:
        raise UsageError(f"{rows} rows of a Hessian of {columns} columns")
    return lower


def _finite(panel: NDArray[np.floating], k: int) -> NDArray[np.floating]:
    if not np.isfinite(panel).all():
        row, column = divmod(int(np.isfinite(panel).argmin()), panel.shape[1])
        raise WeightError(
            f"row {k * PANEL + row}, column {column} of a Hessian is NaN or infinite",
            hint="an input of the model was not finite while it was measured: calibrate again, in --base f32",
        )
    return panel


def _fill(
    upper: list[NDArray[np.float64]],
    lower: list[NDArray[np.floating]],
    added: NDArray[np.float64],
    scale: float,
    pool: Executor,
) -> None:
    """Panels of the upper triangle in float64, over ``scale``, with ``added`` on the diagonal."""

    def fill(k: int) -> None:
        start, height, made = k * PANEL, len(lower[k]), upper[k]
        for j in range(k, len(lower)):
            at = (j - k) * PANEL
            np.divide(
                lower[j][:, start : start + height].T, scale, out=made[:, at : at + len(lower[j])], dtype=np.float64
            )
        square = made[:, :height]
        square[:] = np.triu(square) + np.triu(square, 1).T
        square[np.diag_indices(height)] += added[start : start + height]

    list(pool.map(fill, range(len(lower))))


def _split(upper: list[NDArray[np.float64]], pool: Executor) -> list[NDArray[np.float64]]:
    """Turns panels of H into those of M, H = M Mᵀ; returns the inverses of M's squares on the diagonal."""
    inverses: list[NDArray[np.float64]] = []
    for k in range(len(upper))[::-1]:
        height = len(upper[k])
        beside = upper[k][:, height:]
        root = np.linalg.cholesky((upper[k][:, :height] - _square(beside, pool))[::-1, ::-1])[::-1, ::-1]
        inverse = np.triu(np.linalg.inv(root))
        upper[k][:, :height] = root

        def above(
            i: int, k: int = k, beside: NDArray[np.float64] = beside, inverse: NDArray[np.float64] = inverse
        ) -> None:
            at = (k - i) * PANEL
            block = upper[i][:, at : at + len(inverse)]
            block -= upper[i][:, at + len(inverse) :] @ beside.T
            block[:] = block @ inverse.T

        list(pool.map(above, range(k)))
        inverses.insert(0, inverse)
    return inverses


def _square(panel: NDArray[np.float64], pool: Executor) -> NDArray[np.float64]:
    """A panel times itself, as a sum over pieces of ``_PIECE`` columns."""
    pieces = (panel[:, start : start + _PIECE] for start in range(0, panel.shape[1], _PIECE))
    total = np.zeros((len(panel), len(panel)))
    for square in pool.map(lambda piece: piece @ piece.T, pieces):
        total += square
    return total


def _as_float32(panels: list[NDArray[np.float64]]) -> list[NDArray[np.float32]]:
    made = _within((panel.shape for panel in panels), np.float32)
    for narrow, wide in zip(made, panels, strict=True):
        narrow[:] = wide
    return made


def _sketch(m: list[NDArray[np.float32]], pool: Executor) -> NDArray[np.float32]:
    """M, of which these are panels, times random signs over the root of their number."""
    columns = m[0].shape[1] if m else 0
    signs = np.random.default_rng(1).integers(0, 2, (columns, _SKETCH)).astype(np.float32)
    signs = (2 * signs - 1) / np.float32(_SKETCH**0.5)
    pieces = pool.map(lambda k: m[k] @ signs[k * PANEL :], range(len(m)))
    return np.concatenate([*pieces] or [signs])


def _invert(
    m: list[NDArray[np.float32]], inverses: list[NDArray[np.float64]], scale: np.float32, pool: Executor
) -> list[NDArray[np.float32]]:
    """The inverse of M over ``scale``, of which these are panels of rows: panels of columns, down to their diagonal.

    ``inverses``: of M's squares on the diagonal.
    """
    squares = [inverse.astype(np.float32) for inverse in inverses]
    made = _within(((k * PANEL + len(panel), len(panel)) for k, panel in enumerate(m)), np.float32)

    def rows(i: int) -> None:
        start, stop = i * PANEL, i * PANEL + len(m[i])
        made[i][start:] = squares[i] / scale
        rest = squares[i] @ m[i][:, len(m[i]) :]
        for j in range(i + 1, len(m)):
            solved = rest[:, : len(m[j])] @ squares[j]
            made[j][start:stop] = solved / -scale
            rest = rest[:, len(m[j]) :] - solved @ m[j][:, len(m[j]) :]

    list(pool.map(rows, range(len(m))))
    return made
