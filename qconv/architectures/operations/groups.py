"""Fused projections whose rows are grouped by head: regrouped by what they are."""

from __future__ import annotations

from qconv.architectures.operations.base import refuse
from qconv.architectures.operations.combine import join
from qconv.architectures.operations.rows import gather, split, swap_groups
from qconv.architectures.registry import operation
from qconv.types import Recipe


@operation
def ungroup(recipe: Recipe, groups: int, count: int, *sizes: int) -> Recipe:
    """Each group holds parts of ``sizes``: the first part of all groups, then the second, up to ``count`` parts."""
    grid = (groups, sum(sizes))
    parts = []
    for index in range(count):
        start = sum(sizes[:index])
        pick = (start, start + sizes[index], 1)
        parts.append(gather(recipe, f"rows {pick[0]} to {pick[1]} of", grid, picks={1: pick}))
    return join("ungroup", parts, axis=0)


@operation
def swap_groups_after(recipe: Recipe, skip: int, outer: int, inner: int) -> Recipe:
    """``swap_groups`` on all rows but the first ``skip``."""
    rest = recipe.shape[0] - skip
    if rest <= 0:
        raise refuse("swap_groups_after", recipe, f"it has no more than {skip} rows")
    first, second = split(recipe, 0, skip, rest), split(recipe, 1, skip, rest)
    return join("swap_groups_after", [first, swap_groups(second, outer, inner)], axis=0)


@operation
def rows_at(recipe: Recipe, *numbers: int) -> Recipe:
    """The rows of these numbers, in this order."""
    count = recipe.shape[0]
    if any(not 0 <= number < count for number in numbers):
        raise refuse("rows_at", recipe, f"it has no row {max(numbers)}")
    picked = [gather(recipe, f"row {n} of", (count,), picks={0: (n, n + 1, 1)}) for n in numbers]
    return join("rows_at", picked, axis=0)
