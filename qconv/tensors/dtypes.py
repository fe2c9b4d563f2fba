"""Storage types of rows: how many bytes, and as which numpy arrays they are handed out."""

from __future__ import annotations

import math

import numpy as np

from qconv.formats import block_types
from qconv.types import TensorInfo

FLOATS = ("F32", "F16", "BF16")
"""The types weights are handed to encoders in."""

FLOATS8 = ("F8_E4M3", "F8_E5M2", "F8_E8M0")

PLAIN: dict[str, str] = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": "u2",
    "F8_E4M3": "u1",
    "F8_E5M2": "u1",
    "F8_E8M0": "u1",
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U64": "u8",
    "U32": "u4",
    "U16": "u2",
    "U8": "u1",
    "BOOL": "u1",
}
"""Types of one number each, as numpy spells the arrays of their rows: bit patterns where numpy has no such type."""


def is_blocks(dtype: str) -> bool:
    """Whether rows are blocks of several weights: bytes that only a codec can read."""
    return dtype not in PLAIN


def row_bytes(dtype: str, columns: int) -> int:
    """Bytes of a row of ``columns`` weights.

    Raises ``UsageError`` when that is no whole number of blocks, ``KeyError`` when the type is unknown.
    """
    if dtype in PLAIN:
        return int(PLAIN[dtype][1]) * columns
    return block_types()[dtype].row_bytes(columns)


def size(tensor: TensorInfo) -> int:
    """Bytes the tensor takes where it is stored; raises as ``row_bytes``."""
    return math.prod(tensor.shape[:-1]) * row_bytes(tensor.dtype, tensor.columns)


def array_type(dtype: str, big_endian: bool = False) -> np.dtype[np.generic]:
    """The numpy type of stored rows; ``uint8`` for the bytes of block types."""
    return np.dtype((">" if big_endian else "<") + PLAIN.get(dtype, "u1"))
