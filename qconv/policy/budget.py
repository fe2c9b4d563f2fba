"""Spends bytes where they help most: one candidate for each tensor, the least loss within a size.

Losses add up over tensors, so that the best choice for a size is, up to the grain of the candidates, one point of each
tensor's lower convex hull of loss against size: that where the slope passes a price common to all (Shoham and Gersho,
"Efficient bit allocation for an arbitrary set of quantizers", 1988).  What the price leaves over is then filled.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

_CHANGES = 1000
"""Changes made at most to fill what is left."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A block type a tensor may get: the bytes it takes and the loss that goes with it."""

    type: str
    size: int
    loss: float


def allocate(menus: Sequence[Sequence[Candidate]], size: int) -> list[Candidate] | None:
    """One candidate of each menu, of the least loss in sum that is at hand, of at most ``size`` bytes in sum.

    None when even the smallest are larger.
    """
    hulls = [_hull(menu) for menu in menus]
    chosen = [hull[0] for hull in hulls]
    left = size - sum(c.size for c in chosen)
    if left < 0:
        return None
    at = [0] * len(hulls)
    steps = [(_slope(hull[0], hull[1]), n) for n, hull in enumerate(hulls) if len(hull) > 1]
    heapq.heapify(steps)
    while steps:  # the steepest step first: the same as lowering the price, and each fits or is passed over
        _, n = heapq.heappop(steps)
        step = hulls[n][at[n] + 1].size - hulls[n][at[n]].size
        if step > left:
            continue
        left -= step
        at[n] += 1
        chosen[n] = hulls[n][at[n]]
        if at[n] + 1 < len(hulls[n]):
            heapq.heappush(steps, (_slope(hulls[n][at[n]], hulls[n][at[n] + 1]), n))
    return _filled(menus, chosen, left)


def smallest(menus: Sequence[Sequence[Candidate]]) -> int:
    """Bytes of the smallest choice."""
    return sum(min(c.size for c in menu) for menu in menus)


def largest(menus: Sequence[Sequence[Candidate]]) -> int:
    """Bytes of the choice of the least loss."""
    return sum(min(menu, key=lambda c: (c.loss, c.size)).size for menu in menus)


def _slope(a: Candidate, b: Candidate) -> float:
    """Loss a byte more changes: below zero, the least first."""
    return (b.loss - a.loss) / (b.size - a.size)


def _hull(menu: Sequence[Candidate]) -> list[Candidate]:
    """The lower convex hull from the smallest candidate to that of the least loss."""
    hull: list[Candidate] = []
    for c in sorted(menu, key=lambda c: (c.size, c.loss)):
        if hull and (c.loss >= hull[-1].loss or c.size == hull[-1].size):
            continue
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-1], c):
            hull.pop()
        hull.append(c)
    return hull


def _filled(menus: Sequence[Sequence[Candidate]], chosen: list[Candidate], left: int) -> list[Candidate]:
    """Spends what is left: single changes that lower the loss, then changes of two tensors that do so together."""
    for _ in range(_CHANGES):
        one = [
            (candidate.loss - chosen[n].loss, n, candidate)
            for n, menu in enumerate(menus)
            for candidate in menu
            if candidate.loss < chosen[n].loss and candidate.size - chosen[n].size <= left
        ]
        if one:
            _, n, candidate = min(one, key=lambda change: change[0])
            left -= candidate.size - chosen[n].size
            chosen[n] = candidate
            continue
        pair = _best_pair(menus, chosen, left)
        if pair is None:
            return chosen
        for n, candidate in pair:
            left -= candidate.size - chosen[n].size
            chosen[n] = candidate
    return chosen


def _best_pair(
    menus: Sequence[Sequence[Candidate]], chosen: Sequence[Candidate], left: int
) -> tuple[tuple[int, Candidate], tuple[int, Candidate]] | None:
    """The change of two tensors, one smaller and one larger, that lowers the loss most within ``left`` more bytes."""
    ups: list[tuple[int, float, int, Candidate]] = []
    downs: list[tuple[int, float, int, Candidate]] = []
    for n, menu in enumerate(menus):
        for c in menu:
            size, loss = c.size - chosen[n].size, c.loss - chosen[n].loss
            if loss < 0 and size > left:
                ups.append((size, loss, n, c))
            elif size < 0:
                downs.append((size, loss, n, c))
    best: tuple[float, tuple[int, Candidate], tuple[int, Candidate]] | None = None
    downs.sort(key=lambda d: d[1])
    for size, loss, n, c in ups:
        for size2, loss2, n2, c2 in downs:
            if loss + loss2 >= (0.0 if best is None else best[0]):
                break  # the rest lose more
            if n2 != n and size + size2 <= left:
                best = (loss + loss2, (n, c), (n2, c2))
                break
    # changes too small to matter would go on for long
    scale = sum(c.loss for c in chosen)
    return best[1:] if best is not None and best[0] < -1e-6 * scale else None
