"""What a session hands back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the tokens a tensor's matrices saw.

    ``squares``: float32 ``(matrices, columns)``, sums of squares of the input's columns (llama-imatrix's ``in_sum2``).
    ``sums``: the same of the values themselves (``in_sum``).  ``counts``: int64, tokens: ``(matrices,)`` for experts,
    which see different ones, else ``(1,)``.  ``squares / counts[:, None]`` is the importance.
    """

    squares: NDArray[np.float32]
    sums: NDArray[np.float32]
    counts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Importance:
    """``sums`` of every weight tensor, and in ``lookups`` how often each row of a table was looked up, by their names.

    Names are those llama-imatrix writes.  ``lookups`` has ``token_embd.weight``: int64 ``(vocabulary,)``.
    """

    sums: dict[str, Sums]
    lookups: dict[str, NDArray[np.int64]]
