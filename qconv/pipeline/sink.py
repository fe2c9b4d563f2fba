"""Where rows go once they are read and encoded."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qconv.pipeline.schedule import Block, Encoding, TensorWork
from qconv.types import Rows


class Sink(Protocol):
    """Takes row blocks: writes them, checks them, measures them.  Called from several threads at once."""

    def take(self, block: Block, encoding: Encoding, rows: Rows, encoded: NDArray[np.uint8]) -> None:
        """One encoding of a row block.

        ``rows``: the block's rows as read, of ``block.work.tensor.dtype``.  ``encoded``: uint8 ``(rows, row bytes)`` as
        ``encoding`` says.  Both are used again by the caller.
        """
        ...

    def memory(self, work: TensorWork, rows: int) -> int:
        """Bytes at most that taking ``rows`` rows of a tensor needs meanwhile; 0 for one that only hands them on."""
        ...
