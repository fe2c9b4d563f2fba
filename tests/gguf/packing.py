"""GGUF files packed by hand with ``struct``, so that no byte a test expects comes from qconv."""

from __future__ import annotations

import struct
from collections.abc import Sequence

U8, I8, U16, I16, U32, I32, F32_VALUE, BOOL, STRING, ARRAY, U64, I64, F64_VALUE = range(13)
F32, F16, Q4_0, Q8_0, Q4_K, I32_TENSOR, BF16 = 0, 1, 2, 8, 12, 26, 30
"""ggml's type numbers."""


def text(value: str | bytes, order: str = "<") -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(order + "Q", len(data)) + data


def key(name: str | bytes, kind: int, value: bytes, order: str = "<") -> bytes:
    """A metadata key with its value already packed."""
    return text(name, order) + struct.pack(order + "I", kind) + value


def array(element: int, count: int, items: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "IQ", element, count) + items


def tensor(name: str | bytes, ne: Sequence[int], kind: int, offset: int, order: str = "<") -> bytes:
    """A tensor record; ``ne`` in GGUF's order, columns first."""
    sizes = struct.pack(order + f"I{len(ne)}Q", len(ne), *ne)
    return text(name, order) + sizes + struct.pack(order + "IQ", kind, offset)


def file(
    keys: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    order: str = "<",
    version: int = 3,
    counts: tuple[int, int] | None = None,
    alignment: int = 32,
) -> bytes:
    """A whole file; ``counts`` (tensors, keys) may lie."""
    n_tensors, n_keys = counts or (len(tensors), len(keys))
    start = b"GGUF" + struct.pack(order + "IQQ", version, n_tensors, n_keys)
    head = start + b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data
