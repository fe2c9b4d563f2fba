"""The search of Q2_K, Q4_K and Q5_K with importance for a super-block's scale or minimum, ggml's ``make_qp_quants``."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numpy as np

from qconv.blocks.lanes import (
    any_lane,
    called,
    inline,
    least,
    load,
    most,
    select,
    splat,
    store,
    to_float,
    to_int,
    unknown,
)
from qconv.blocks.tiles import LEAST, nearest

_TRIES = 4
_MOVES = 5


def positive_search(lanes: int) -> Any:
    """``search(values, weights, levels, steps, top)`` for kernels with ``lanes`` super-blocks side by side.

    It returns the factor such that each lane's ``values`` are about ``factor * level``, levels going from 0 to ``top``.
    ``values``, ``weights``: ``steps`` of ``lanes`` lanes each, weights saying what an error counts.  ``levels`` is
    filled, as floats, with the low byte of each level: a negative value has a negative level, and ggml keeps a byte.
    """

    @called
    def search(values, weights, levels, steps, top):
        greatest = splat(0.0, lanes)
        for i in range(steps):
            greatest = most(greatest, load(values, i * lanes, lanes))
        best_inverse = np.float32(top) / greatest
        factor = 1.0 / best_inverse
        best = splat(0.0, lanes)
        for i in range(steps):
            v = load(values, i * lanes, lanes)
            off = v - factor * _byte(nearest(best_inverse * v, True))
            best = best + load(weights, i * lanes, lanes) * off * off
        for k in range(-_TRIES, unknown(_TRIES + 1)):
            if k != 0:
                inverse = (np.float32(0.1) * np.float32(k) + np.float32(top)) / greatest
                factor = 1.0 / inverse
                error = splat(0.0, lanes)
                for i in range(steps):
                    v = load(values, i * lanes, lanes)
                    off = v - factor * least(nearest(inverse * v, True), np.float32(top))
                    error = error + load(weights, i * lanes, lanes) * off * off
                better = error < best
                best = select(better, error, best)
                best_inverse = select(better, inverse, best_inverse)

        products, squares = splat(0.0, lanes), splat(0.0, lanes)
        for i in range(steps):
            v, w = load(values, i * lanes, lanes), load(weights, i * lanes, lanes)
            level = least(nearest(best_inverse * v, True), np.float32(top))
            store(levels, i * lanes, _byte(level))
            products = products + w * v * level
            squares = squares + w * level * level
        for _ in range(unknown(_MOVES)):
            moved_any = greatest != greatest
            for i in range(steps):
                v, w = load(values, i * lanes, lanes), load(weights, i * lanes, lanes)
                level = load(levels, i * lanes, lanes)
                other_products = products - w * v * level
                other_squares = squares - w * level * level
                moved = least(nearest(v * other_squares / other_products, True), np.float32(top))
                move = (other_products > 0.0) & (other_squares > 0.0) & (moved != level)
                other_products = other_products + w * v * moved
                other_squares = other_squares + w * moved * moved
                move = move & (other_products * other_products * squares > products * products * other_squares)
                store(levels, i * lanes, select(move, _byte(moved), level))
                products = select(move, other_products, products)
                squares = select(move, other_squares, squares)
                moved_any = moved_any | move
            if not any_lane(moved_any):
                break

        nothing = greatest < LEAST
        for i in range(steps):
            store(levels, i * lanes, select(nothing, 0.0, load(levels, i * lanes, lanes)))
        return select(~nothing & (squares > 0.0), products / squares, 0.0)

    return search


@inline
def _byte(level):
    return to_float(to_int(level) & 0xFF)
