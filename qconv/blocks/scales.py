"""Whether blocks that are only copied hold numbers: one scale that is NaN or infinite makes all its weights so.

ggml looks at the same fields (``ggml_validate_row_data`` in ``ggml-quants.c``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.layout import fields
from qconv.formats import block_types

_NO_NUMBER = {"f16": ("<u2", 0x7C00), "e8m0": ("u1", 0xFF), "ue4m3": ("u1", 0x7F)}
"""By a field's type how it is looked at, and the bits that are all set only where it is not a number."""


def first_without_number(block_type: str, rows: NDArray[np.uint8]) -> int | None:
    """The first of ``rows``, uint8 ``(n, bytes per row)``, with a scale that is not a number; None for none."""
    layout = block_types()[block_type]
    blocks = rows.reshape(-1, layout.bytes)
    bad = np.zeros(len(blocks), np.bool_)
    for field in fields(layout).values():
        if field.type in _NO_NUMBER:
            kind, mask = _NO_NUMBER[field.type]
            scales = np.ascontiguousarray(blocks[:, field.offset : field.offset + field.size]).view(np.dtype(kind))
            bad |= ((scales & mask) == mask).any(axis=1)
    return int(bad.argmax()) * len(rows) // len(blocks) if bad.any() else None
