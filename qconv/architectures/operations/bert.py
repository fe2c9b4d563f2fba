"""Position embeddings of BERT's family."""

from __future__ import annotations

from qconv.architectures.operations.base import refuse
from qconv.architectures.operations.rows import gather
from qconv.architectures.registry import operation
from qconv.types import Recipe


@operation
def skip_rows(recipe: Recipe, count: int) -> Recipe:
    """Without the first ``count`` rows."""
    if not 0 <= count < recipe.shape[0]:
        raise refuse("skip_rows", recipe, f"it has no row {count}")
    return gather(recipe, "skip_rows of", (recipe.shape[0],), picks={0: (count, recipe.shape[0], 1)})
