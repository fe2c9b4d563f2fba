"""Which model weights belong to: so that what was measured of one is not taken for another's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from qconv.tensors import FLOATS, LazyTensor, as_float32, columns, convert, n_rows

_COLUMNS = 1024


def fingerprint(tensors: Iterable[tuple[str, LazyTensor, str]]) -> str:
    """SHA-256 (hex, its first 32 digits) over names, shapes and the first row of each matrix.

    ``tensors``: GGUF name, rows, and the type they have when quantizing begins, to which they are rounded.  A
    checkpoint and the 16-bit GGUF file made of it are the same; fine-tunes of one model are not.
    """
    digest = hashlib.sha256()
    for name, tensor, intermediate_type in sorted(tensors, key=lambda t: t[0]):
        if len(tensor.shape) < 2 or not columns(tensor) or not n_rows(tensor):
            continue
        shape = tuple(n for n in tensor.shape if n != 1)
        digest.update(f"{name} {shape}\n".encode("utf-8", "surrogateescape"))
        if tensor.dtype in FLOATS and tensor.row_group == 1 and not tensor.resident_bytes:
            row = tensor.read(0, 1)[:, :_COLUMNS]
            rounded = convert(row, tensor.dtype, intermediate_type) if intermediate_type in FLOATS else row
            kind = intermediate_type if intermediate_type in FLOATS else tensor.dtype
            digest.update(np.ascontiguousarray(as_float32(rounded, kind), "<f4").tobytes())
    return digest.hexdigest()[:32]
