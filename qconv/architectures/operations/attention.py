"""Fused projections of queries, keys and values taken apart and put in GGUF's order."""

from __future__ import annotations

from itertools import pairwise

from qconv.architectures.operations.combine import join
from qconv.architectures.operations.rows import gather, whole
from qconv.architectures.registry import operation
from qconv.types import Recipe


@operation
def group_qkv(recipe: Recipe, n_head: int, n_head_kv: int) -> Recipe:
    """From groups of some query heads, a key head and a value head to all queries, then all keys, then all values."""
    per_group = whole("group_qkv", recipe, n_head, n_head_kv)
    size = whole("group_qkv", recipe, recipe.shape[0], n_head + 2 * n_head_kv)
    grid = (n_head_kv, per_group + 2, size)
    edges = (0, per_group, per_group + 1, per_group + 2)
    parts = [gather(recipe, f"rows {a} to {b} of", grid, picks={1: (a, b, 1)}) for a, b in pairwise(edges)]
    return join("group_qkv", parts, axis=0)
