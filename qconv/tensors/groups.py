"""Fused projections whose rows are grouped by head: regrouped by what they are."""

from __future__ import annotations

from itertools import pairwise

from qconv.tensors.base import LazyTensor, refuse
from qconv.tensors.combine import join
from qconv.tensors.registry import operation
from qconv.tensors.rows import gather, split, swap_groups, whole


@operation
def ungroup(tensor: LazyTensor, groups: int, count: int, *sizes: int) -> LazyTensor:
    """Each group holds parts of ``sizes``: the first part of all groups, then the second, up to ``count`` parts."""
    grid = (groups, sum(sizes))
    parts = []
    for index in range(count):
        start = sum(sizes[:index])
        pick = (start, start + sizes[index], 1)
        parts.append(gather(tensor, f"rows {pick[0]} to {pick[1]} of", grid, picks={1: pick}))
    return join("ungroup", parts, axis=0)


@operation
def swap_groups_after(tensor: LazyTensor, skip: int, outer: int, inner: int) -> LazyTensor:
    """``swap_groups`` on all rows but the first ``skip``."""
    rest = tensor.shape[0] - skip
    if rest <= 0:
        raise refuse("swap_groups_after", tensor, f"it has no more than {skip} rows")
    first, second = split(tensor, 0, skip, rest), split(tensor, 1, skip, rest)
    return join("swap_groups_after", [first, swap_groups(second, outer, inner)], axis=0)


@operation
def rows_at(tensor: LazyTensor, *numbers: int) -> LazyTensor:
    """The rows of these numbers, in this order."""
    count = tensor.shape[0]
    if any(not 0 <= number < count for number in numbers):
        raise refuse("rows_at", tensor, f"it has no row {max(numbers)}")
    picked = [gather(tensor, f"row {n} of", (count,), picks={0: (n, n + 1, 1)}) for n in numbers]
    return join("rows_at", picked, axis=0)


@operation
def repeat_first_row(tensor: LazyTensor, count: int) -> LazyTensor:
    """The first row, ``count`` times."""
    if count <= 0:
        raise refuse("repeat_first_row", tensor, f"it cannot be there {count} times")
    return rows_at(tensor, *[0] * count)


@operation
def group_qkv(tensor: LazyTensor, n_head: int, n_head_kv: int) -> LazyTensor:
    """From groups of some query heads, a key head and a value head to all queries, then all keys, then all values."""
    per_group = whole("group_qkv", tensor, n_head, n_head_kv)
    size = whole("group_qkv", tensor, tensor.shape[0], n_head + 2 * n_head_kv)
    grid = (n_head_kv, per_group + 2, size)
    edges = (0, per_group, per_group + 1, per_group + 2)
    parts = [gather(tensor, f"rows {a} to {b} of", grid, picks={1: (a, b, 1)}) for a, b in pairwise(edges)]
    return join("group_qkv", parts, axis=0)
