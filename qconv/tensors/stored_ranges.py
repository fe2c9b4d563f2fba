"""From rows of any tensor to the bytes of files that hold them."""

from __future__ import annotations

from collections.abc import Iterator

from qconv.storage import ByteRange, StoredFile
from qconv.tensors.base import Keyed, LazyTensor
from qconv.tensors.stored import StoredTensor


def stored_ranges(tensor: LazyTensor, start: int, stop: int) -> Iterator[ByteRange]:
    """About the bytes that reading rows ``[start, stop)`` takes, in about the order in which they are read."""
    if isinstance(tensor, StoredTensor):
        yield tensor.range(start, stop)
    elif isinstance(tensor, Keyed):
        held_first = sorted(tensor.reads(start, stop), key=lambda each: each.tensor.resident_bytes == 0)
        for inner, first, last in held_first:
            yield from stored_ranges(inner, first, last)


def stored_files(tensor: LazyTensor) -> Iterator[StoredFile]:
    """The files a tensor is read from, each as often as it has tensors in it."""
    if isinstance(tensor, StoredTensor):
        yield tensor.file
    elif isinstance(tensor, Keyed):
        for inner in tensor.inputs():
            yield from stored_files(inner)
