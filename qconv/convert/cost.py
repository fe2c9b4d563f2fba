"""What a row block costs in memory."""

from __future__ import annotations

from qconv.convert import values
from qconv.convert.schedule import Tensor

_TRANSPOSING = 8 << 20
"""Bytes a transpose takes beside its result."""


def cost(tensor: Tensor, rows: int) -> int:
    """Bytes at most in memory while ``rows`` rows of a tensor are worked on.

    A recipe that is more than its source reads into one buffer, gathers from up to four times the rows it makes, and
    computes in float32; a transpose reads a few megabytes at a time.  Rounding before encoding widens slices of rows.
    """
    recipe = tensor.recipe
    copies = 1 if (recipe.describe(),) == recipe.sources else 6
    encoded = max((e.row_bytes for e in tensor.encodings), default=0)
    rounded = any(values.loses(recipe.dtype, e.stored) for e in tensor.encodings)
    widest = max(tensor.columns, values.SLICE) if rounded else values.SLICE
    slices = 24 * min(widest, rows * tensor.columns) + (_TRANSPOSING if recipe.held else 0)
    return rows * (copies * tensor.source_row + encoded) + slices
