"""Draws a comparison: relative RMSE by layer, a line a role.  matplotlib is an extra (``pip install qconv[plot]``)."""

from __future__ import annotations

import importlib.util
import math
from collections import defaultdict
from pathlib import Path

from qconv.compare.comparison import Comparison
from qconv.compare.error import Error
from qconv.errors import OutputError, UsageError


def check_plot(path: Path) -> None:
    """Raises before anything is compared when the plot could not be written."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"'{path}' does not end in .png")
    if not path.parent.is_dir():
        raise OutputError("is no directory", file=path.parent, hint="make it first, with mkdir -p")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib", hint="pip install 'qconv[plot]'")


def draw(found: Comparison, path: Path) -> None:
    """Writes the picture; tensors without a layer (embedding, output) are points left of layer 0."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines: dict[str, dict[int, Error]] = defaultdict(lambda: defaultdict(Error))
    for t in found.tensors:
        if not t.equal and math.isfinite(t.error.relative_rmse):
            lines[t.role][-1 if t.layer is None else t.layer] += t.error
    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for role, by_layer in sorted(lines.items()):
        layers = sorted(by_layer)
        axes.plot(layers, [100 * by_layer[n].relative_rmse for n in layers], marker=".", label=role)
    axes.set_xlabel("layer (-1: no layer)")
    axes.set_ylabel("relative RMSE, %")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    if lines:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    try:
        figure.savefig(path, format="png", dpi=120)
    except OSError as e:
        raise OutputError(f"cannot be written: {e.strerror}", file=path) from e
