"""The F32 tensors of a GGUF importance matrix."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from qconv import gguf
from qconv.errors import FormatError

SQUARES, SUMS, COUNTS = ".in_sum2", ".in_sum", ".counts"
"""Endings of a tensor's entries: sums of squares, sums, numbers of tokens (llama.cpp's names)."""
PEAKS = ".peaks"
"""And of qconv's own: sums of squares of the largest magnitudes."""


def read_floats(f: BinaryIO, file: gguf.File, name: str) -> NDArray[np.float32]:
    """All values of an F32 tensor of ``file``, open as ``f``, flat; raises FormatError where there is none."""
    tensor = file.tensors.get(name)
    if tensor is None:
        raise FormatError("is missing beside its sums or counts", file=file.location, tensor=name)
    if tensor.info.dtype != "F32":
        raise FormatError(f"is {tensor.info.dtype} instead of F32", file=file.location, tensor=name)
    f.seek(tensor.offset)
    data = f.read(tensor.size)
    if len(data) != tensor.size:
        raise FormatError("is cut short", file=file.location, tensor=name)
    return np.frombuffer(data, "<f4" if file.byte_order == "little" else ">f4").astype(np.float32)
