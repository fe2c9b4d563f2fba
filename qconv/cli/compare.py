"""``qconv compare``: what differs between two models."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qconv.cli.options import Debug, Json
from qconv.cli.values import value_object, value_text
from qconv.types import shape_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from qconv.compare import Comparison, Error, TensorDifference

EXAMPLES = """
Examples:
  qconv compare model-BF16.gguf model-Q4_K_M.gguf     # how much was lost
  qconv compare ~/models/Llama-3.2-1B model-Q8_0.gguf # against the checkpoint
  qconv compare ours.gguf theirs.gguf --all           # every tensor
  qconv compare a.gguf b.gguf --json | jq .same
  qconv compare model-BF16.gguf model-Q4_K_M.gguf --plot error.png

Exit status:
  0 the same, 1 different (or something failed), 2 wrong usage.
"""
SHORT = "Show what differs between two models."
_SHOWN = 12


def compare(
    reference: Annotated[str, typer.Argument(metavar="A", help="The reference: a GGUF file or a checkpoint.")],
    other: Annotated[str, typer.Argument(metavar="B", help="What is compared with it, likewise.")],
    every: Annotated[bool, typer.Option("--all", help="Show every tensor, not only the worst.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw the error by layer and role; needs matplotlib."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="By default all cores this process may use.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Compare two models: metadata keys, tensors, and for each tensor how far the weights are apart.

    Errors are those of B against A: RMSE relative to the weights' own, the worst single error, the signal-to-noise
    ratio in dB, and the cosine. Weights are read piece by piece, so memory stays small.
    """
    from qconv import plots
    from qconv.compare import compare as run
    from qconv.compare import draw, open_sides

    if plot is not None:
        plots.check(plot)
    with open_sides(reference, other) as (a, b):
        comparison = run(a, b, threads=threads)
    if plot is not None:
        draw(comparison, plot)
    if as_json:
        from qconv.cli import screen

        screen.result(json.dumps(as_object(comparison)))
    else:
        show(comparison, every)
    return 0 if comparison.same else 1


def show(comparison: Comparison, every: bool) -> None:
    """The usual screen: keys, tensors, the worst errors, totals."""
    from qconv.cli import screen

    for title, names in (
        ("keys only in A", comparison.keys.removed),
        ("keys only in B", comparison.keys.added),
        ("tensors only in A", comparison.removed),
        ("tensors only in B", comparison.added),
    ):
        _names(title, names, every)
    if comparison.keys.changed:
        rows = [[key, value_text(a), value_text(b)] for key, a, b in comparison.keys.changed]
        screen.table([screen.Column("key"), screen.Column("A", cut=True), screen.Column("B", cut=True)], rows)
        screen.lines("")
    if comparison.reshaped:
        rows = [[name, shape_text(a), shape_text(b)] for name, a, b in comparison.reshaped]
        screen.table([screen.Column("tensor"), screen.Column("shape in A"), screen.Column("shape in B")], rows)
        screen.lines("")
    if comparison.led_by_ones:
        _names(
            "tensors with leading dimensions of 1 on one side only", tuple(s[0] for s in comparison.led_by_ones), every
        )
    differing = [t for t in comparison.tensors if not t.equal]
    if differing:
        _errors("tensor", [(t.name, _types(t), t.error) for t in (differing if every else differing[:_SHOWN])])
        if len(differing) > _SHOWN and not every:
            screen.lines(f"… {len(differing) - _SHOWN} more; --all shows them")
        screen.lines("")
        for title, key in _groups():
            _errors(title, [(name, f"{count:,}", e) for name, (count, e) in comparison.totals(key).items()], "tensors")
            screen.lines("")
    screen.lines(_verdict(comparison, len(differing)))


def _verdict(comparison: Comparison, differing: int) -> str:
    if comparison.same:
        return f"the same: all keys, all {len(comparison.tensors):,} tensors"
    keys = len(comparison.keys.added) + len(comparison.keys.removed) + len(comparison.keys.changed)
    missing = len(comparison.added) + len(comparison.removed) + len(comparison.reshaped)
    return (
        f"different: {_counted(keys, 'key')}; {differing:,} of {_counted(len(comparison.tensors), 'tensor')}"
        f"; {_counted(missing, 'tensor')} missing or of other shape"
    )


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _groups() -> tuple[tuple[str, Callable[[TensorDifference], str]], ...]:
    return (("type", lambda t: t.type), ("role", lambda t: t.role))


def _types(t: TensorDifference) -> str:
    return t.type if t.type == t.reference_type else f"{t.reference_type} → {t.type}"


def _names(title: str, names: tuple[str, ...], every: bool) -> None:
    from qconv.cli import screen
    from qconv.errors import printable

    if not names:
        return
    shown = names if every else names[:_SHOWN]
    more = f", … {len(names) - len(shown)} more" if len(shown) < len(names) else ""
    screen.lines(f"{title} ({len(names):,}): {', '.join(printable(n) for n in shown)}{more}", "")


def _errors(heading: str, rows: list[tuple[str, str, Error]], second: str = "type") -> None:
    from qconv.cli import screen
    from qconv.cli.screen import Column

    columns = [Column(heading, cut=True), Column(second, right=second == "tensors")]
    columns += [Column(name, right=True) for name in ("RMSE", "relative", "worst", "dB", "cosine")]
    screen.table(
        columns,
        [
            [
                name,
                what,
                f"{e.rmse:.3g}",
                f"{e.relative_rmse:.2%}",
                f"{e.worst:.3g}",
                f"{e.sqnr:.1f}",
                f"{e.cosine:.6f}",
            ]
            for name, what, e in rows
        ],
    )


def as_object(comparison: Comparison) -> dict[str, Any]:
    """All of it for JSON; infinite and undefined measures are null."""
    return {
        "same": comparison.same,
        "keys": {
            "added": list(comparison.keys.added),
            "removed": list(comparison.keys.removed),
            "changed": {key: [value_object(a), value_object(b)] for key, a, b in comparison.keys.changed},
        },
        "added": list(comparison.added),
        "removed": list(comparison.removed),
        "reshaped": {name: [list(a), list(b)] for name, a, b in comparison.reshaped},
        "led_by_ones": {name: [list(a), list(b)] for name, a, b in comparison.led_by_ones},
        "tensors": [
            {
                "name": t.name,
                "role": t.role,
                "layer": t.layer,
                "types": [t.reference_type, t.type],
                "shape": list(t.shape),
                "equal": t.equal,
                **_measures(t.error),
            }
            for t in comparison.tensors
        ],
        **{
            f"by_{title}": {
                name: {"tensors": count, **_measures(e)} for name, (count, e) in comparison.totals(key).items()
            }
            for title, key in _groups()
        },
    }


def _measures(e: Error) -> dict[str, float | int | None]:
    numbers = {
        "rmse": e.rmse,
        "relative_rmse": e.relative_rmse,
        "worst": e.worst,
        "sqnr_db": e.sqnr,
        "cosine": e.cosine,
    }
    return {"weights": e.weights, **{k: v if math.isfinite(v) else None for k, v in numbers.items()}}
