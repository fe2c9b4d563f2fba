"""What GPTQ needs of H = Σ x xᵀ: the upper Cholesky factor U of its inverse, H⁻¹ = Uᵀ U.

H is damped first, which draws it towards a diagonal one: H + damping · mean(diag(H)).

Neither H⁻¹ nor a square matrix is made.  H is split as M Mᵀ with M upper triangular, from the last columns to the
first, and U is M⁻¹.  Both work on panels of rows of the upper triangle in float64, whose shapes depend on the number of
columns alone, so that results are the same on one machine whatever calls this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Factor:
    """U in float32, of an H of ``columns`` columns.

    ``panels``: columns of U down to their diagonal, ``(256 k + width, width)`` of panel ``k``.  ``inverses``: of the
    square at each panel's end.  ``sketch``: float32 ``(columns, 256)``, M times a random matrix R with E[R Rᵀ] = 1, so
    that |v · sketch|² is an estimate of v H vᵀ.  ``importance``: float32 ``(columns,)``, H's diagonal.  ``added``:
    float32 ``(columns,)``, what damping added to it.
    """

    panels: tuple[NDArray[np.float32], ...]
    inverses: tuple[NDArray[np.float32], ...]
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


def factorize(panels: Iterable[NDArray[np.floating]], columns: int, damping: float = DAMPING) -> Factor:
    """The factor of H + ``damping`` times the mean of its diagonal.

    ``panels``: the lower triangle of H from the top, ``(256, columns up to the last of these rows)`` each, the last one
    of what rows are left.  Columns of zeros, which saw nothing, count as seen on their own.  Where rounding left H
    without a Cholesky factor, damping is raised until there is one.

    Raises WeightError for NaN and infinity, for diagonals below zero and for what is not a sum of x xᵀ; UsageError for
    panels of other shapes.
    """
    if not np.isfinite(damping) or damping <= 0:
        raise UsageError(f"a damping of {damping} damps nothing", hint="0.01 is usual")
    lower = [_checked(panel, k, columns) for k, panel in enumerate(panels)]
    if sum(len(panel) for panel in lower) != columns:
        raise UsageError(f"{sum(map(len, lower))} rows of a Hessian of {columns} columns")
    diagonal = np.concatenate(
        [panel[:, k * PANEL :].diagonal() for k, panel in enumerate(lower)] or [np.zeros(0)]
    ).astype(np.float64)
    seen = diagonal > 0
    if (diagonal < 0).any():
        raise WeightError(f"column {int((diagonal < 0).argmax())} of a Hessian has a sum of squares below zero")
    mean = float(diagonal[seen].mean()) if seen.any() else 1.0
    with single_threaded():
        while True:
            added = np.where(seen, damping * mean, mean)
            upper = _upper(lower, added / mean, mean)
            try:
                inverses = _split(upper)
                break
            except np.linalg.LinAlgError:
                damping *= 10
                if damping > MOST_DAMPING:
                    raise WeightError("a Hessian is not a sum of products of inputs: it is not positive") from None
        del lower
        sketch = _sketch(upper)
        squares = _invert(upper, inverses)
    scale = np.sqrt(mean)
    return Factor(
        panels=tuple(_panels_of_columns(upper, scale)),
        inverses=tuple((square * scale).astype(np.float32) for square in squares),
        sketch=(sketch * scale).astype(np.float32),
        importance=(diagonal + added).astype(np.float32),
        added=added.astype(np.float32),
    )


def _checked(panel: NDArray[np.floating], k: int, columns: int) -> NDArray[np.floating]:
    height = min(PANEL, columns - k * PANEL)
    if panel.shape != (height, k * PANEL + height):
        raise UsageError(f"panel {k} of a Hessian of {columns} columns is {panel.shape}")
    if not np.isfinite(panel).all():
        row, column = divmod(int(np.isfinite(panel).argmin()), panel.shape[1])
        raise WeightError(
            f"row {k * PANEL + row}, column {column} of a Hessian is NaN or infinite",
            hint="an input of the model was not finite while it was measured: calibrate again, in --base f32",
        )
    return panel


def _upper(lower: list[NDArray[np.floating]], added: NDArray[np.float64], scale: float) -> list[NDArray[np.floating]]:
    """Panels of the upper triangle in float64, over ``scale``, with ``added`` on the diagonal."""
    columns = len(added)
    upper: list[NDArray[np.floating]] = [
        np.zeros((len(panel), columns - k * PANEL), np.float64) for k, panel in enumerate(lower)
    ]
    for j, panel in enumerate(lower):
        for k in range(j + 1):
            at = (j - k) * PANEL
            piece = panel[:, k * PANEL : k * PANEL + len(upper[k])].astype(np.float64) / scale
            upper[k][:, at : at + len(panel)] = piece.T
    for k, panel in enumerate(upper):
        square = panel[:, : len(panel)]
        square[:] = np.triu(square) + np.triu(square, 1).T
        square[np.diag_indices(len(panel))] += added[k * PANEL : k * PANEL + len(panel)]
    return upper


def _split(upper: list[NDArray[np.floating]]) -> list[NDArray[np.floating]]:
    """Turns panels of H into those of M, H = M Mᵀ; returns the inverses of M's squares on the diagonal."""
    inverses: list[NDArray[np.floating]] = []
    for k in range(len(upper))[::-1]:
        height = len(upper[k])
        beside = upper[k][:, height:]
        square = upper[k][:, :height] - beside @ beside.T
        root = np.linalg.cholesky(square[::-1, ::-1])[::-1, ::-1]
        inverse = np.triu(np.linalg.inv(root))
        upper[k][:, :height] = root
        for i in range(k):
            at = (k - i) * PANEL
            block = upper[i][:, at : at + height]
            block -= upper[i][:, at + height :] @ beside.T
            block[:] = block @ inverse.T
        inverses.insert(0, inverse)
    return inverses


def _invert(upper: list[NDArray[np.floating]], inverses: list[NDArray[np.floating]]) -> list[NDArray[np.floating]]:
    """Turns panels of M into those of M⁻¹; returns the inverses of its squares on the diagonal, M's own."""
    squares = []
    for i, panel in enumerate(upper):
        height = len(panel)
        squares.append(panel[:, :height].copy())
        rest = -(inverses[i] @ panel[:, height:])
        panel[:, :height] = inverses[i]
        for j in range(i + 1, len(upper)):
            at, width = (j - i - 1) * PANEL, len(upper[j])
            solved = rest[:, at : at + width] @ inverses[j]
            panel[:, height + at : height + at + width] = solved
            rest[:, at + width :] -= solved @ upper[j][:, width:]
    return squares


def _sketch(upper: list[NDArray[np.floating]]) -> NDArray[np.float64]:
    """M, of which these are panels, times random signs over the root of their number."""
    columns = upper[0].shape[1] if upper else 0
    signs = np.random.default_rng(1).integers(0, 2, (columns, _SKETCH)) * (2 / _SKETCH**0.5) - 1 / _SKETCH**0.5
    return np.concatenate([panel @ signs[k * PANEL :] for k, panel in enumerate(upper)] or [signs])


def _panels_of_columns(upper: list[NDArray[np.floating]], scale: float) -> Iterator[NDArray[np.float32]]:
    """From panels of rows, over ``scale``."""
    for k, last in enumerate(upper):
        panel = np.empty((k * PANEL + len(last), len(last)), np.float32)
        for i, rows in enumerate(upper[: k + 1]):
            at = (k - i) * PANEL
            panel[i * PANEL : i * PANEL + len(rows)] = rows[:, at : at + len(last)] / scale
        yield panel
