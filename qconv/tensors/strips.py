"""Strips of columns of stored matrices, read once for the row blocks that need them.

A matrix that is stored turned is read along its columns, and a row block of its transpose needs a narrow strip of every
row.  Wider strips than that are read and kept for the neighbours, the last few of all tensors together.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from qconv.tensors.base import LazyTensor, bytes_of_rows, columns, read_columns
from qconv.types import Rows

SIZE = 8 << 20
"""Bytes of a strip, about."""
_MOST = 4 * SIZE
"""Bytes of all strips that are kept."""
_LEAST = 64
"""Columns of a strip, at least."""


class _Strips:
    """The strips last used, by tensor, matrix and first column."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[tuple[LazyTensor, int, int, Rows]] = []

    def get(self, tensor: LazyTensor, matrix: int, first: int, last: int) -> Rows:
        with self._lock:  # whoever needs the same strip waits for it, and disks read one after the other anyway
            for at, (kept, number, start, rows) in enumerate(self._kept):
                if kept is tensor and (number, start) == (matrix, first):
                    self._kept.append(self._kept.pop(at))
                    return rows
            base, count = matrix * tensor.shape[-2], tensor.shape[-2]
            rows = read_columns(tensor, base, base + count, first, last)
            self._kept.append((tensor, matrix, first, rows))
            while len(self._kept) > 1 and sum(each[3].nbytes for each in self._kept) > _MOST:
                self._kept.pop(0)
            return rows


_strips = _Strips()


def width(tensor: LazyTensor) -> int:
    """Columns of a strip of one of the tensor's matrices."""
    return max(_LEAST, SIZE // _column_bytes(tensor) // _LEAST * _LEAST)


def strip_bytes(tensor: LazyTensor) -> int:
    """Bytes of a strip, the whole matrix where that is smaller."""
    return min(width(tensor), columns(tensor)) * _column_bytes(tensor)


def _column_bytes(tensor: LazyTensor) -> int:
    return max(1, tensor.shape[-2] * bytes_of_rows(tensor, 1) // max(1, columns(tensor)))


def strips(tensor: LazyTensor, matrix: int, first: int, last: int) -> Iterator[tuple[int, Rows]]:
    """Columns ``[first, last)`` of a matrix, as pieces of strips, each with its first column."""
    step = width(tensor)
    for start in range(first // step * step, last, step):
        stop = min(columns(tensor), start + step)
        rows = _strips.get(tensor, matrix, start, stop)
        a, b = max(first, start), min(last, stop)
        yield a, rows[:, a - start : b - start]
