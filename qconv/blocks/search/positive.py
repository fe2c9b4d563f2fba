"""``make_qp_quants``: a super-block's scale for its scales or mins, for Q2_K, Q4_K and Q5_K with importance."""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numpy as np

from qconv.blocks import lanes
from qconv.blocks.lanes import any_lane, inline, load, opaque, outlined, select, splat, store, to_float, to_int
from qconv.blocks.tiles import EPSILON, nearest

_TRIES = 4
_MOVES = 5


def positive_search(count: int) -> Any:
    """``search(values, w, quants, steps, top)`` for kernels with ``count`` super-blocks side by side.

    It returns the scale such that each lane's ``values`` are about ``scale * q``, quants going from 0 to ``top``.
    ``values``, ``w``: ``steps`` of ``count`` lanes each, values and error weights.  ``quants`` is filled,
    as floats, with the low byte of each quant: a negative value has a negative quant, and ggml keeps a byte.
    """

    @outlined
    def search(values, w, quants, steps, top):
        greatest = splat(0.0, count)
        for i in range(steps):
            greatest = lanes.max(greatest, load(values, i * count, count))
        best_inverse = np.float32(top) / greatest
        scale = 1.0 / best_inverse
        best = splat(0.0, count)
        for i in range(steps):
            v = load(values, i * count, count)
            off = v - scale * _byte(nearest(best_inverse * v, True))
            best = best + load(w, i * count, count) * off * off
        for k in range(-_TRIES, opaque(_TRIES + 1)):
            if k != 0:
                inverse = (np.float32(0.1) * np.float32(k) + np.float32(top)) / greatest
                scale = 1.0 / inverse
                error = splat(0.0, count)
                for i in range(steps):
                    v = load(values, i * count, count)
                    off = v - scale * lanes.min(nearest(inverse * v, True), np.float32(top))
                    error = error + load(w, i * count, count) * off * off
                better = error < best
                best = select(better, error, best)
                best_inverse = select(better, inverse, best_inverse)

        products, squares = splat(0.0, count), splat(0.0, count)
        for i in range(steps):
            v, weight = load(values, i * count, count), load(w, i * count, count)
            q = lanes.min(nearest(best_inverse * v, True), np.float32(top))
            store(quants, i * count, _byte(q))
            products = products + weight * v * q
            squares = squares + weight * q * q
        for _ in range(opaque(_MOVES)):
            moved = greatest != greatest
            for i in range(steps):
                v, weight = load(values, i * count, count), load(w, i * count, count)
                q = load(quants, i * count, count)
                new_products = products - weight * v * q
                new_squares = squares - weight * q * q
                new = lanes.min(nearest(v * new_squares / new_products, True), np.float32(top))
                move = (new_products > 0.0) & (new_squares > 0.0) & (new != q)
                new_products = new_products + weight * v * new
                new_squares = new_squares + weight * new * new
                move = move & (new_products * new_products * squares > products * products * new_squares)
                store(quants, i * count, select(move, _byte(new), q))
                products = select(move, new_products, products)
                squares = select(move, new_squares, squares)
                moved = moved | move
            if not any_lane(moved):
                break

        nothing = greatest < EPSILON
        for i in range(steps):
            store(quants, i * count, select(nothing, 0.0, load(quants, i * count, count)))
        return select(~nothing & (squares > 0.0), products / squares, 0.0)

    return search


@inline
def _byte(q):
    return to_float(to_int(q) & 0xFF)
