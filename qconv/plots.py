"""Pictures, drawn by matplotlib, which is an extra (``pip install 'qconv[plot]'``)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from qconv.errors import OutputError, UsageError


def check(path: Path) -> None:
    """Raises before anything is computed when a picture could not be drawn to ``path``."""
    if path.suffix.lower() != ".png":
        raise UsageError(f"'{path}' does not end in .png")
    if not path.parent.is_dir():
        raise OutputError("is not a directory", file=path.parent, hint="make it first, with mkdir -p")
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib", hint="pip install 'qconv[plot]'")


def axes() -> Any:
    """matplotlib's axes of a new picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    made = figure.subplots()
    made.grid(alpha=0.3)
    return made


def save(axes: Any, path: Path) -> None:
    """Writes the picture; raises OutputError."""
    try:
        axes.figure.savefig(path, format="png", dpi=120)
    except OSError as e:
        raise OutputError(f"cannot be written: {e.strerror}", file=path) from e
