"""Which entry of an importance matrix weighs the errors of which tensor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qconv import formats
from qconv.errors import FormatError
from qconv.policy.decision import Decision
from qconv.policy.roles import role

if TYPE_CHECKING:
    from qconv.calibration import Imatrix


def select_importance(imatrix: Imatrix, decisions: Iterable[Decision]) -> dict[str, NDArray[np.float32]]:
    """Tensor name → importance ``(matrices, columns)`` for every tensor encoded into blocks that has an entry.

    Raises FormatError for an entry of another size; the token embeddings then do without, as in llama-quantize.
    """
    selected = {}
    for d in decisions:
        entry = imatrix.entries.get(d.name)
        if entry is None or not d.encodes:
            continue
        columns, matrices = d.shape[-1], d.shape[-3] if len(d.shape) > 2 else 1
        if entry.size == columns * matrices:
            if formats.block_types()[d.type].weights > 1:
                selected[d.name] = entry.reshape(matrices, columns)
        elif role(d.name) != "token_embd":
            raise FormatError(
                f"has {entry.size} values of importance for {matrices} x {columns} columns",
                file=imatrix.file,
                tensor=d.name,
                hint="it was made for another model",
            )
    return selected
