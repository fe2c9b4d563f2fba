"""How a plan looks on the screen: the table of a dry run, its JSON object, and the summary before a conversion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qconv.cli import screen
from qconv.cli.sizes import count, counted, size
from qconv.plan import Plan, TensorPlan
from qconv.tensors import bytes_of_rows
from qconv.types import shape_text

if TYPE_CHECKING:
    from qconv.allocation import Point

_NAMED = 8
"""Tensors named in a line; the rest are counted."""
_ROUGH = 0.05
"""Nats a token from which on KL divergence no longer adds up over tensors."""


def show_plan(plan: Plan) -> None:
    """The table of ``--dry-run`` on standard output."""
    predicted = plan.sized is not None and plan.sized.predicted is not None
    total = sum(t.loss or 0.0 for t in plan.tensors)
    screen.table(
        [
            screen.Column("tensor"),
            screen.Column("shape", right=True),
            screen.Column("from"),
            screen.Column("to"),
            screen.Column("why", cut=True),
            screen.Column("bytes", right=True),
            *([screen.Column("KL", right=True), screen.Column("share", right=True)] if predicted else []),
        ],
        [
            (
                *(t.name, shape_text(t.shape), t.source_type, t.block_type, t.reason, f"{t.size:,}"),
                *(_predicted(t.loss, total) if predicted else ()),
            )
            for t in plan.tensors
        ],
    )
    screen.lines("", totals(plan), *left_out(plan, _NAMED))
    held = max((_held(t) for t in plan.tensors), default=0)
    if held:
        screen.lines(f"held in memory at once, for a tensor that is needed whole: {size(held)}")
    for file in plan.files:
        screen.lines(f"{file.name}: {file.size:,} bytes ({size(file.size)})")


def _predicted(loss: float | None, total: float) -> tuple[str, str]:
    """A tensor's predicted KL divergence, and its share of all; blank for what is not rounded."""
    return (f"{loss:.2e}", f"{loss / (total or 1):.1%}") if loss else ("", "")


def show_curve(plans: Sequence[Plan], points: Sequence[Point]) -> None:
    """Sizes against what they are predicted to cost, llama.cpp's mixes between them; standard output."""
    rows = [
        (made.size, "--size " + made.sized.size, made.bits_per_weight, made.sized.predicted)
        for made in plans
        if made.sized is not None
    ]
    measured = any(predicted is not None for *_, predicted in rows)
    rows += [(p.size, f"{p.mix} (llama.cpp)", p.bits, p.predicted if measured else None) for p in points]
    screen.table(
        [
            screen.Column("bytes", right=True),
            screen.Column("size", right=True),
            screen.Column("bits", right=True),
            screen.Column("predicted KL", right=True),
            screen.Column("file"),
        ],
        [
            (f"{bytes_:,}", size(bytes_), f"{bits:.2f}", "unknown" if kl is None else f"{kl:.3g}", what)
            for bytes_, what, bits, kl in sorted(rows, key=lambda row: row[0])
        ],
    )


def _held(planned: TensorPlan) -> int:
    """Bytes of a tensor that is needed whole, or matrix by matrix."""
    tensor = planned.tensor
    rows = tensor.row_group if tensor.row_group > 1 else 0
    return tensor.resident_bytes + bytes_of_rows(tensor, rows)


def left_out(plan: Plan, named: int) -> list[str]:
    """Source tensors that are in no output, a line for each reason with the first ``named`` names."""
    names: dict[str, list[str]] = {}
    for name, why in plan.dropped:
        names.setdefault(why, []).append(name)
    return [
        f"left out, {why}: {', '.join(same[:named])}" + (f", and {len(same) - named} more" if len(same) > named else "")
        for why, same in names.items()
    ]


def totals(plan: Plan) -> str:
    weights = f"{counted(len(plan.tensors), 'tensor')}, {count(plan.weights)} weights"
    made = plan.mix
    if plan.sized is not None:
        made = f"{plan.mix} is best for --size {plan.sized.size}" if plan.sized.by_mix else f"--size {plan.sized.size}"
    told = f"{made}: {weights}, {plan.bits_per_weight:.2f} bits per weight, {size(plan.size)}"
    if plan.sized is None or plan.sized.predicted is None:
        return told
    rough = " (rough, as it is large)" if plan.sized.predicted > _ROUGH else ""
    return f"{told}, predicted KL divergence {plan.sized.predicted:.3g}{rough}"


def summary_lines(plan: Plan) -> list[str]:
    """What to know before a conversion starts: size, tensors that fell back or are left out, warnings."""
    lines = [f"{plan.files[0].name}: {totals(plan)}"]
    fallen = plan.fallbacks
    if fallen:
        weights = sum(t.weights for t in fallen)
        named = ", ".join(f"{t.name} {t.wanted} to {t.block_type}" for t in fallen[:_NAMED])
        more = f", and {len(fallen) - _NAMED} more" if len(fallen) > _NAMED else ""
        share = f"{weights / max(1, plan.weights):.1%} of all"
        lines.append(
            f"{counted(len(fallen), 'tensor')} fell back to a larger type, whose blocks their rows fit"
            f" ({count(weights)} weights, {share}): {named}{more}"
        )
    return lines + left_out(plan, 1) + [f"warning: {text}" for text in plan.warnings]


def plan_object(plan: Plan) -> dict[str, Any]:
    """The JSON object of ``--dry-run --json``."""
    return {
        "part": plan.part,
        "type": plan.mix,
        "files": [{"name": f.name, "bytes": f.size} for f in plan.files],
        "bytes": plan.size,
        "weights": plan.weights,
        "bits_per_weight": plan.bits_per_weight,
        **({} if plan.sized is None else {"size": plan.sized.size, "predicted_kl_divergence": plan.sized.predicted}),
        "warnings": plan.warnings,
        "dropped": [{"name": name, "why": why} for name, why in plan.dropped],
        "tensors": [_tensor_object(t) for t in plan.tensors],
    }


def _tensor_object(tensor: TensorPlan) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": tensor.shape,
        "from": tensor.source_type,
        "to": tensor.block_type,
        "wanted": tensor.wanted,
        "why": tensor.reason,
        "bytes": tensor.size,
        **({} if tensor.loss is None else {"predicted_kl_divergence": tensor.loss}),
    }
