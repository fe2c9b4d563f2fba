"""Lays out a GGUF v3 file: the exact header bytes, and where every tensor goes.

Byte for byte what llama.cpp writes for the same keys and tensors: keys and tensors in the order given, tensor data in
that order too, everything padded with zeros to the alignment.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qconv.errors import UsageError
from qconv.formats import block_types
from qconv.gguf import limits
from qconv.gguf.file import SCALARS, Strings, Tensor, dtype_of, padded, tensor_bytes
from qconv.gguf.read import is_alignment
from qconv.types import Metadata, TensorInfo, Value, ValueType

VERSION = 3


@dataclass(frozen=True, slots=True)
class Layout:
    """A file about to be written.

    ``header``: its first ``data_offset`` bytes, padding included.  ``tensors``: by name, in file order; the bytes
    between ``offset + size`` and the next multiple of ``alignment`` are zeros, after the last tensor too.  ``size``: of
    the whole file, in bytes.
    """

    header: bytes
    data_offset: int
    alignment: int
    tensors: dict[str, Tensor]
    size: int


def header(metadata: Metadata, tensors: Sequence[TensorInfo]) -> Layout:
    """The layout of a file with these keys and tensors, in this order.

    The alignment is 32, or what ``general.alignment`` says.  Raises ``UsageError`` for what a GGUF file cannot hold:
    a storage type that is not ggml's, rows that are no whole number of blocks, more than 4 dimensions, a name twice, a
    value out of its type's range.
    """
    alignment = _alignment(metadata)
    placed: dict[str, Tensor] = {}
    records: list[bytes] = []
    offset = 0
    for info in tensors:
        if info.name in placed:
            raise UsageError("occurs twice", tensor=info.name)
        size = _checked_size(info)
        records.append(_record(info, offset))
        placed[info.name] = Tensor(info, offset, size)
        offset += padded(size, alignment)
    parts = [b"GGUF", struct.pack("<IQQ", VERSION, len(placed), len(metadata))]
    for key, value in metadata.items():
        parts += (_string(key), _value(key, value))
    parts += records
    data = b"".join(parts)
    data_offset = padded(len(data), alignment)
    return Layout(
        header=data.ljust(data_offset, b"\0"),
        data_offset=data_offset,
        alignment=alignment,
        tensors={name: Tensor(t.info, t.offset + data_offset, t.size) for name, t in placed.items()},
        size=data_offset + offset,
    )


def packed(metadata: Metadata) -> Metadata:
    """The same with arrays of strings as a file holds them, so that several headers do not each make them."""
    return {
        key: Value.array(ValueType.STRING, Strings(_strings(value.data), len(value.data)))
        if value.element is ValueType.STRING
        else value
        for key, value in metadata.items()
    }


def _alignment(metadata: Metadata) -> int:
    value = metadata.get("general.alignment")
    if value is None:
        return limits.DEFAULT_ALIGNMENT
    if value.type is not ValueType.UINT32 or not is_alignment(value.data):
        raise UsageError(f"general.alignment must be a UINT32 power of two up to {limits.ALIGNMENT}, not {value.data}")
    return int(value.data)


def _checked_size(info: TensorInfo) -> int:
    if info.dtype not in block_types():
        raise UsageError(f"GGUF has no type {info.dtype}", tensor=info.name)
    if len(info.shape) > limits.DIMENSIONS:
        raise UsageError(f"has {len(info.shape)} dimensions; GGUF allows {limits.DIMENSIONS}", tensor=info.name)
    if len(info.name.encode("utf-8", "surrogateescape")) > limits.NAME_BYTES:
        raise UsageError(f"has a name of more than {limits.NAME_BYTES} bytes", tensor=info.name)
    try:
        return tensor_bytes(info)
    except UsageError as e:
        raise UsageError(e.message, tensor=info.name) from e


def _record(info: TensorInfo, offset: int) -> bytes:
    count = len(info.shape)
    sizes = struct.pack(f"<I{count}Q", count, *reversed(info.shape))
    return _string(info.name) + sizes + struct.pack("<IQ", block_types()[info.dtype].id, offset)


def _string(text: str | bytes) -> bytes:
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def _value(key: str, value: Value) -> bytes:
    kind = struct.pack("<I", value.type)
    try:
        if value.type is ValueType.STRING:
            return kind + _string(value.data)
        if value.type is not ValueType.ARRAY:
            return kind + _numbers(value.type, [value.data])
        if value.element is None or value.element is ValueType.ARRAY:
            raise UsageError(f"metadata key '{key}': an array needs an element type that is not an array")
        items = _strings(value.data) if value.element is ValueType.STRING else _numbers(value.element, value.data)
    except (struct.error, OverflowError, TypeError, ValueError, AttributeError) as e:
        raise UsageError(f"metadata key '{key}' cannot hold its value as {value.type.name}: {e}") from e
    return kind + struct.pack("<IQ", value.element, len(value.data)) + items


def _numbers(element: ValueType, data: Any) -> bytes:
    if element is ValueType.BOOL:
        return np.asarray(data, bool).tobytes()
    if isinstance(data, np.ndarray):
        dtype = dtype_of(element, "little")
        if data.dtype == dtype:
            return data.astype(dtype, copy=False).tobytes()
        data = data.tolist()
    return struct.pack(f"<{len(data)}{SCALARS[element]}", *data)


def _strings(data: Strings | Collection[str | bytes]) -> bytes:
    if isinstance(data, Strings) and data.byte_order == "little":
        return data.raw
    items = [s.encode("utf-8", "surrogateescape") if isinstance(s, str) else s for s in data]
    lengths = np.fromiter(map(len, items), np.int64, len(items))
    # eight zeros before each, into which the bytes of its length go that are not zero
    packed = np.frombuffer(bytearray(bytes(8).join([b"", *items])), np.uint8)
    places = np.cumsum(lengths + 8) - (lengths + 8)
    for byte in range(8):
        values = lengths >> 8 * byte
        if not values.any():
            break
        packed[places + byte] = values & 0xFF
    return packed.tobytes()
