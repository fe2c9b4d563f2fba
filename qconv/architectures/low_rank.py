"""Products of low rank in the place of a model's weights: what a table's operations make of their factors.

A weight ``left @ right`` has its rows reordered, picked or stacked where ``left`` has; turned, its factors change
places.  Operations that compute are not among these: of them only the whole weight knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qconv.architectures import build, registry
from qconv.architectures.expand import Wanted
from qconv.architectures.model import ModelContext
from qconv.architectures.resolve import Checkpoint, matcher_of
from qconv.errors import PlanError, UnsupportedError, and_more
from qconv.tensors import LazyTensor

ROWS = frozenset(
    (
        "every_other", "first_rows", "group_qkv", "half", "heads", "permute_rope", "rows_at", "skip_rows", "split",
        "split_each", "swap_groups", "swap_groups_after", "ungroup",
    )
)  # fmt: skip
"""Operations on rows alone, whatever their length."""
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Pair:
    """``left``, (rows, rank), times ``right``, (rank, columns); with experts in front of both."""

    left: LazyTensor
    right: LazyTensor


def resolve_low_rank(checkpoint: Checkpoint, pairs: Mapping[str, Pair]) -> tuple[str, list[tuple[str, Pair]]]:
    """The architecture of ``checkpoint``, and for GGUF's weights the pairs made of those by the checkpoint's names.

    UnsupportedError: a weight is computed from others, or not among those of the GGUF file.  PlanError: as ``resolve``.
    """
    matcher = matcher_of(checkpoint)
    places = {name: place for place, name in enumerate(pairs)}
    made: list[tuple[int, str, Pair]] = []
    used: set[str] = set()
    for want in matcher.entries():
        names = [matcher.names[name] for group in want.sources for name in group]
        changed = [name for name in names if name in pairs]
        if not changed or not want.there:
            continue
        if len(changed) < len(names):
            others = and_more([name for name in names if name not in pairs], _SHOWN)
            raise _merge_instead(f"'{changed[0]}' becomes one tensor with {others}, which the adapter leaves alone")
        made.append(
            (max(places[name] for name in names), want.output, _made(matcher.model, want, matcher.names, pairs))
        )
        used.update(names)
    unused = [name for name in pairs if name not in used]
    if unused:
        raise _merge_instead(f"the file of such a model has no {and_more(unused, _SHOWN)}")
    return matcher.table.gguf_name, [(name, pair) for _, name, pair in sorted(made, key=lambda each: each[0])]


def _made(model: ModelContext, want: Wanted, names: Mapping[str, str], pairs: Mapping[str, Pair]) -> Pair:
    state: list[Pair] = []
    for group in want.sources:
        parts = [pairs[names[name]] for name in group]
        state.append(_stacked(parts) if len(parts) > 1 or build.stacked(want.entry) else parts[0])
    for step in want.entry.do:
        name, arguments = build.step_of(model, step)
        state = [_applied(want.output, name, arguments, pair) for pair in state]
    if len(state) != 1:
        raise _merge_instead(f"'{want.output}' is made of several weights")
    return state[0]


def _stacked(parts: Sequence[Pair]) -> Pair:
    stack = registry.lookup("combination", "stack")
    try:
        return Pair(stack([part.left for part in parts]), stack([part.right for part in parts]))
    except PlanError as e:
        raise _merge_instead(f"experts have changes of different ranks or types ({e.message})") from e


def _applied(output: str, name: str, arguments: tuple[object, ...], pair: Pair) -> Pair:
    function = None if registry.is_known("combination", name) else registry.lookup("operation", name)
    if function is not None and name == "transpose":
        return Pair(function(pair.right), function(pair.left))
    if function is None or name not in ROWS:
        raise _merge_instead(f"'{output}' is computed by {name}")
    return Pair(build.applied(name, function, pair.left, arguments), pair.right)


def _merge_instead(why: str) -> UnsupportedError:
    return UnsupportedError(
        f"changes weights that a file of an adapter cannot: {why}",
        hint="merge it instead: qconv convert BASE --adapter ADAPTER",
    )
