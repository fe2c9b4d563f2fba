"""Importance from sums over a text, of experts too that saw none of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from qconv.calibration import TensorSums
from qconv.policy import Decision


def pooled(sums: Mapping[str, TensorSums]) -> tuple[dict[str, TensorSums], int]:
    """``sums`` with those of all experts of a layer for an expert that saw no token; and how many matrices saw none."""
    made, starved = {}, 0
    for name, s in sums.items():
        unseen = s.counts == 0
        if len(s.counts) > 1 and unseen.any() and not unseen.all():
            starved += int(unseen.sum())
            total = s.counts.sum()
            squares, values, counts = s.squares.copy(), s.sums.copy(), s.counts.copy()
            squares[unseen], values[unseen], counts[unseen] = s.squares.sum(0) / total, s.sums.sum(0) / total, 1
            s = TensorSums(squares, values, counts, s.peaks)
        made[name] = s
    return made, starved


def importances(sums: Mapping[str, TensorSums], decisions: Iterable[Decision]) -> dict[str, NDArray[np.float32]]:
    """Mean squares ``(matrices, columns)`` of the inputs of those tensors that have sums."""
    return {
        d.name: (s.squares / np.maximum(s.counts, 1).reshape(-1, 1)).astype(np.float32)
        for d in decisions
        if (s := sums.get(d.name)) is not None and s.squares.shape[1] == d.shape[-1]
    }
