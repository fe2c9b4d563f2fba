"""Rounding that makes later columns undo the errors of earlier ones: GPTQ, on the grid of a block type.

Frantar, Ashkboos, Hoefler, Alistarh: GPTQ, accurate post-training quantization for generative pre-trained transformers
(ICLR 2023), in its Cholesky form: with H = Σ x xᵀ and H⁻¹ = Uᵀ U, columns are rounded from left to right, and after
column j all later ones k take

    w[k] -= (w[j] - q[j]) / U[j, j] * U[j, k]

The squares of these (w[j] - q[j]) / U[j, j] add up to ΔW H ΔWᵀ, the squared error of the layer's output.  Columns are
worked on in panels of 256, each of which takes what all columns before it leave to it in one product.

The thorough search then rounds all columns once more, from the last to the first, each to what is best while all others
stay as they are: with the gradient (W - Q) H, column j is best at q[j] + gradient[j] / H[j, j].  How later columns were
rounded, which went unseen from left to right, is known by then.  It takes twice as many products again.

The grid is the block's: where columns reach a new block, the type's own encoder chooses its scales for the columns as
they are by then, and only quants are chosen here.  A row that comes out no better than ordinary rounding keeps that.

BLAS rounds a row's products differently by where in a matrix it lies and by how many threads share it.  So rows are
worked on in tiles of ``ROWS``, by one thread each: a tile's bytes depend on nothing beside it.  Row blocks that begin
at multiples of ``ROWS`` make the same bytes as all rows at once.
"""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks import lanes as vectors
from qconv.blocks.blas import single_threaded
from qconv.blocks.codec import Codec, EncodeContext
from qconv.blocks.compile import kernel
from qconv.blocks.factor import PANEL, Factor
from qconv.blocks.factor import TILE_ROWS as ROWS
from qconv.blocks.groups import INDEX
from qconv.blocks.lanes import f32, inline, load, rint, scratch, select, splat, store, to_int
from qconv.blocks.quants import Quants, quants
from qconv.blocks.tiles import gather_lanes

_SURE = 1.5
"""An error that is estimated as so many times another is larger: the estimate is that of a variance from 256 samples,
whose relative standard deviation is 0.09, and is 1.5 times what it should be for one row in millions."""
_LANES = 16
_TILE = PANEL * _LANES


def encode(codec: Codec, rows: NDArray[Any], factor: Factor, context: EncodeContext, out: NDArray[np.uint8]) -> bool:
    """``Codec.encode`` with this rounding; types whose quants do not lie apart are encoded in the ordinary way.

    Importance, where there is none, is the diagonal of H.
    """
    importance = factor.importance if context.importance is None else context.importance
    context = replace(context, importance=importance, factor=None)
    if not codec.encode(rows, context, out):
        return False
    grid = quants(codec)
    if grid is not None:
        with single_threaded():
            for row in range(0, len(rows), ROWS):
                piece = slice(row, row + ROWS)
                _Tile(codec, grid, factor, context).improve(rows[piece], out[piece])
    return True


class _Tile:
    """Up to ``ROWS`` rows; the rest of the tile is zeros."""

    def __init__(self, codec: Codec, grid: Quants, factor: Factor, context: EncodeContext) -> None:
        self._codec, self._grid, self._factor, self._context = codec, grid, factor, context
        self._importance: Any = context.importance

    def improve(self, rows: NDArray[Any], out: NDArray[np.uint8]) -> None:
        """Replaces rows of ordinary blocks in ``out`` by better ones."""
        count, columns = rows.shape
        weights = np.zeros((ROWS, columns), np.float32)
        weights[:count] = as_float32(rows)
        blocks = np.zeros((ROWS, self._codec.layout.row_bytes(columns)), np.uint8)
        errors = np.empty((ROWS, columns), np.float32)
        usable = np.ones(ROWS, np.bool_)
        for start, u in zip(range(0, columns, PANEL), self._factor.panels, strict=True):
            panel = weights[:, start : start + PANEL] - errors[:, :start] @ u[:start]
            errors[:, start : start + PANEL] = self._round(panel, u[start:], start, blocks, usable)
        weights = weights[:count]
        with np.errstate(invalid="ignore", over="ignore"):
            if self._context.search == "thorough":
                self._go_back(errors, blocks, usable)
            rounded = weights - self._decode(blocks[:count])
            new = _squares(errors[:count]) - _weighed(rounded, self._factor.added)
            better = usable[:count] & np.isfinite(new)
            better &= self._exceed(weights - self._decode(out), np.where(better, new, -np.inf))
        out[better] = blocks[:count][better]

    def _exceed(self, off: NDArray[np.float32], limits: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which rows' ΔW H ΔWᵀ, without what damping added to H, is above their limit."""
        limits = limits + _weighed(off, self._factor.added)
        above = _squares(off @ self._factor.sketch) > _SURE * limits
        unsure = np.flatnonzero(~above)
        above[unsure] = self._squared(off[unsure]) > limits[unsure]
        return above

    def _squared(self, off: NDArray[np.float32]) -> NDArray[np.float64]:
        """ΔW H ΔWᵀ of rows, as the sum of the squares of ΔW M."""
        errors = np.zeros_like(off)
        for start, m in zip(range(0, off.shape[1], PANEL), self._factor.root, strict=True):
            errors[:, start:] += off[:, start : start + PANEL] @ m
        return _squares(errors)

    def _round(
        self,
        panel: NDArray[np.float32],
        u: NDArray[np.float32],
        start: int,
        blocks: NDArray[np.uint8],
        usable: NDArray[np.bool_],
    ) -> NDArray[np.float32]:
        """Rounds the columns of a panel, from ``start`` on, to ``blocks``; returns their errors over U's diagonal."""
        layout, grid = self._codec.layout, self._grid
        width = panel.shape[1]
        errors = np.empty((ROWS, width), np.float32)
        step = layout.weights
        made = np.empty((ROWS, layout.bytes), np.uint8)
        chosen = np.empty((ROWS, step), np.uint8)
        for first in range(0, width, step):
            columns = np.ascontiguousarray(panel[:, first : first + step])
            finite = np.isfinite(columns).all(axis=1)
            if not finite.all():
                usable &= finite
                panel[~finite] = 0
                columns[~finite] = 0
            at = start + first
            context = replace(self._context, importance=np.ascontiguousarray(self._importance[at : at + step]))
            self._codec.encode(columns, context, made)
            made &= grid.kept
            lowest, highest = self._decode(made | grid.lowest), self._decode(made | grid.highest)
            levels = np.zeros(0, np.float32) if grid.uniform else grid.levels
            steps = (highest - lowest) / np.float32(len(grid.levels) - 1 if grid.uniform else 1)
            _round_columns(
                panel.reshape(-1), u.reshape(-1), lowest.reshape(-1), steps.reshape(-1), levels,
                len(grid.levels) - 1, first, step, width, chosen.reshape(-1), errors.reshape(-1),
            )  # fmt: skip
            _pack(chosen.reshape(-1), grid.codes, grid.pieces.reshape(-1), step, made.reshape(-1), layout.bytes)
            blocks[:, at // step * layout.bytes : (at // step + 1) * layout.bytes] = made
        return errors

    def _go_back(self, errors: NDArray[np.float32], blocks: NDArray[np.uint8], usable: NDArray[np.bool_]) -> None:
        """Rounds every column once more, the last one first, to what is best while all others stay as they are.

        ``errors``: (W - Q) M, kept so.
        """
        layout, grid = self._codec.layout, self._grid
        for k in range(len(self._factor.root))[::-1]:
            m, square = self._factor.root[k], self._factor.squares[k]
            width, first = len(square), k * PANEL // layout.weights * layout.bytes
            gradient = errors[:, k * PANEL :] @ m.T
            finite = np.isfinite(gradient).all(axis=1)
            usable &= finite
            gradient[~finite] = 0
            own = blocks[:, first : first + width // layout.weights * layout.bytes]
            kept = own & np.tile(grid.kept, width // layout.weights)
            lowest, highest = (
                self._decode(kept | np.tile(level, width // layout.weights)) for level in (grid.lowest, grid.highest)
            )
            levels = np.zeros(0, np.float32) if grid.uniform else grid.levels
            steps = (highest - lowest) / np.float32(len(grid.levels) - 1 if grid.uniform else 1)
            chosen = np.empty((ROWS, width), np.uint8)
            changes = np.empty((ROWS, width), np.float32)
            _round_again(
                self._decode(own).reshape(-1), gradient.reshape(-1), square.reshape(-1), lowest.reshape(-1),
                steps.reshape(-1), levels, len(grid.levels) - 1, width, chosen.reshape(-1), changes.reshape(-1),
            )  # fmt: skip
            _pack(
                chosen.reshape(-1), grid.codes, grid.pieces.reshape(-1), layout.weights, kept.reshape(-1), layout.bytes
            )
            blocks[:, first : first + kept.shape[1]] = kept
            errors[:, k * PANEL :] += changes @ m

    def _decode(self, blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        layout = self._codec.layout
        decoded = np.empty((len(blocks), blocks.shape[1] // layout.bytes * layout.weights), np.float32)
        self._codec.decode(np.ascontiguousarray(blocks), decoded)
        return decoded


def as_float32(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Weights as encoders take them as float32."""
    if rows.dtype == np.uint16:
        return (rows.astype(np.uint32) << 16).view(np.float32)
    return rows.astype(np.float32)


def _squares(errors: NDArray[np.float32]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = np.einsum("ij,ij->i", errors, errors, dtype=np.float64)
    return total


def _weighed(errors: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = np.einsum("ij,ij,j->i", errors, errors, weights, dtype=np.float64)
    return total


@inline
def _nearest(w, bottom, step, levels, top):
    """Of each of 16 weights the nearest value and its level; ``levels`` and ``top`` as in ``_round_columns``."""
    x = select(step == 0.0, splat(0.0, _LANES), (w - bottom) / step)
    if levels.size == 0:
        value = rint(vectors.max(vectors.min(x, np.float32(top)), 0.0))
        level = to_int(value)
    else:
        value = splat(0.0, _LANES)
        level = to_int(value)
        for k in range(top):
            above = x > (levels[k] + levels[k + 1]) * np.float32(0.5)
            value = select(above, levels[k + 1], value)
            level = select(above, np.int32(k + 1), level)
    return bottom + step * value, level


@kernel("gptq")
def _round_columns(panel, u, lowest, steps, levels, top, first, count, width, chosen, errors):
    """Rounds columns ``first`` to ``first + count`` of rows of ``width`` columns, 16 rows side by side, and changes the
    later columns of ``panel``.

    ``lowest``, ``steps``: of each weight, ``count`` a row, the value of level 0 and what lies between two levels, or
    between the first and the last where ``levels`` are not uniform.  Fills ``chosen`` and ``errors``.
    """
    tile, low, between = scratch(_TILE, f32), scratch(_TILE, f32), scratch(_TILE, f32)
    starts, grid = scratch(_LANES, INDEX), scratch(_LANES, INDEX)
    left = width - first
    for row in range(0, panel.size // width, _LANES):
        for k in range(_LANES):
            starts[k] = (row + k) * width + first
            grid[k] = (row + k) * count
        gather_lanes(panel, starts, left, tile, _LANES)
        gather_lanes(lowest, grid, count, low, _LANES)
        gather_lanes(steps, grid, count, between, _LANES)
        for j in range(count):
            w = load(tile, j * _LANES, _LANES)
            bottom, step = load(low, j * _LANES, _LANES), load(between, j * _LANES, _LANES)
            value, level = _nearest(w, bottom, step, levels, top)
            e = (w - value) / u[(first + j) * width + first + j]
            store(tile, j * _LANES, e)
            store(low, j * _LANES, vectors.floats(level))
            for m in range(j + 1, left):
                v = load(tile, m * _LANES, _LANES)
                store(tile, m * _LANES, v - e * u[(first + j) * width + first + m])
        for k in range(_LANES):
            for j in range(count):
                errors[starts[k] + j] = tile[j * _LANES + k]
                chosen[grid[k] + j] = np.float32(low[j * _LANES + k]).view(np.int32)
            for j in range(count, left):
                panel[starts[k] + j] = tile[j * _LANES + k]


@kernel("gptq")
def _round_again(rounded, gradient, square, lowest, steps, levels, top, width, chosen, changes):
    """Rounds ``width`` columns of rows again, the last one first, 16 rows side by side.

    ``rounded``: what they are.  ``gradient``: (W - Q) H of these columns; changes.  ``square``: H of them.  ``lowest``,
    ``steps``, ``levels``: as in ``_round_columns``.  Fills ``chosen`` and, with what W - Q grows by, ``changes``.
    """
    tile, low, between, slope = scratch(_TILE, f32), scratch(_TILE, f32), scratch(_TILE, f32), scratch(_TILE, f32)
    starts = scratch(_LANES, INDEX)
    for row in range(0, rounded.size // width, _LANES):
        for k in range(_LANES):
            starts[k] = (row + k) * width
        gather_lanes(rounded, starts, width, tile, _LANES)
        gather_lanes(lowest, starts, width, low, _LANES)
        gather_lanes(steps, starts, width, between, _LANES)
        gather_lanes(gradient, starts, width, slope, _LANES)
        for j in range(width - 1, -1, -1):
            before = load(tile, j * _LANES, _LANES)
            bottom, step = load(low, j * _LANES, _LANES), load(between, j * _LANES, _LANES)
            w = before + load(slope, j * _LANES, _LANES) / square[j * width + j]
            value, level = _nearest(w, bottom, step, levels, top)
            change = before - value
            store(tile, j * _LANES, change)
            store(low, j * _LANES, vectors.floats(level))
            for m in range(j):
                v = load(slope, m * _LANES, _LANES)
                store(slope, m * _LANES, v + change * square[j * width + m])
        for k in range(_LANES):
            for j in range(width):
                changes[starts[k] + j] = tile[j * _LANES + k]
                chosen[starts[k] + j] = np.float32(low[j * _LANES + k]).view(np.int32)


@kernel("gptq")
def _pack(chosen, codes, pieces, weights, blocks, size):
    """Puts the codes of ``chosen`` levels into blocks whose quant bits are clear."""
    runs = pieces.size // (4 * weights)
    for i in range(chosen.size // weights):
        for j in range(weights):
            code = np.int32(codes[chosen[i * weights + j]])
            for run in range(runs):
                at = run * 4 * weights + j
                value = (code >> pieces[at]) & pieces[at + weights]
                blocks[i * size + pieces[at + 2 * weights]] |= np.uint8(value << pieces[at + 3 * weights])
