"""What ``--size`` chose, for other programs and other runs: a mix, llama-quantize's list of types, a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qconv import plots
from qconv.errors import OutputError, UsageError
from qconv.plan import Plan
from qconv.policy import find_mix

if TYPE_CHECKING:
    from qconv.allocation import Allocator


@dataclass(frozen=True, slots=True)
class SavedChoice:
    """Files to write.

    ``mix``: the choice as a table for ``--mix``.  ``tensor_types``: as ``llama-quantize --tensor-type-file`` reads it.
    ``plot``: size against predicted KL divergence.  The first two hold one choice, the picture all.
    """

    mix: Path | None = None
    tensor_types: Path | None = None
    plot: Path | None = None

    def check(self, sizes: int) -> None:
        """Raises UsageError for what does not go with so many sizes, before anything is computed."""
        for option, path in (("--mix-out", self.mix), ("--tensor-types-out", self.tensor_types)):
            if path is not None and sizes != 1:
                raise UsageError(f"{option} saves the choice for one --size", hint=f"{sizes} are given")
        if self.plot is not None:
            if not sizes:
                raise UsageError("--plot draws what --size chooses", hint="add --size, or several with commas")
            plots.check(self.plot)


def save(allocator: Allocator, plans: Sequence[Plan], files: SavedChoice) -> None:
    """Writes what is asked for."""
    chosen = [made for made in plans if made.sized is not None]
    if files.mix is not None:
        _write(files.mix, _as_mix(chosen[0]))
    if files.tensor_types is not None:
        _write(files.tensor_types, "".join(f"{name}={use.lower()}\n" for name, use in _types(chosen[0])))
    if files.plot is not None:
        _draw(allocator, chosen, files.plot)


def _types(chosen: Plan) -> list[tuple[str, str]]:
    return [(t.name, t.block_type) for t in chosen.tensors if t.block_type != t.intermediate_type]


def _as_mix(chosen: Plan) -> str:
    mix = find_mix(chosen.mix)
    assert chosen.sized is not None
    predicted = chosen.sized.predicted
    told = "" if predicted is None else f", predicted KL divergence {predicted:.3g}"
    lines = [f"{json.dumps(name)} = {json.dumps(use)}" for name, use in _types(chosen)]
    return (
        f"# {chosen.size:,} bytes{told}\nextends = {json.dumps(mix.name.lower())}\n\n[tensors]\n"
        + "\n".join(lines)
        + "\n"
    )


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as e:
        raise OutputError(f"cannot be written: {e.strerror}", file=path) from e


def _draw(allocator: Allocator, chosen: Sequence[Plan], path: Path) -> None:
    axes = plots.axes()
    points = allocator.points()
    axes.plot(
        [p.size / 1e9 for p in points], [p.predicted for p in points], "x", color="0.4", label="llama.cpp's mixes"
    )
    for p in points:
        axes.annotate(p.mix, (p.size / 1e9, p.predicted), textcoords="offset points", xytext=(4, 4), fontsize=7)
    made = sorted(chosen, key=lambda plan: plan.size)
    losses = [allocator.losses.total((t.name, t.block_type) for t in plan.tensors) for plan in made]
    axes.plot([plan.size / 1e9 for plan in made], losses, marker="o", label="--size")
    axes.set_yscale("log")
    axes.set_xlabel("size, GB")
    axes.set_ylabel("predicted KL divergence, nats a token")
    axes.legend(frameon=False)
    plots.save(axes, path)
