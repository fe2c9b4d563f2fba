"""Draws a comparison: relative RMSE by layer, a line a role."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

from qconv import plots
from qconv.compare.comparison import Comparison
from qconv.compare.error import Error


def draw(comparison: Comparison, path: Path) -> None:
    """Writes the picture; tensors without a layer (embedding, output) are points left of layer 0."""
    axes = plots.axes()
    lines: dict[str, dict[int, Error]] = defaultdict(lambda: defaultdict(Error))
    for t in comparison.tensors:
        if not t.equal and math.isfinite(t.error.relative_rmse):
            lines[t.role][-1 if t.layer is None else t.layer] += t.error
    for role, by_layer in sorted(lines.items()):
        layers = sorted(by_layer)
        axes.plot(layers, [100 * by_layer[n].relative_rmse for n in layers], marker=".", label=role)
    axes.set_xlabel("layer (-1: no layer)")
    axes.set_ylabel("relative RMSE, %")
    axes.set_ylim(bottom=0)
    if lines:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    plots.save(axes, path)
