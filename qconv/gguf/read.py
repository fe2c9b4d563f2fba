"""Reads the header of a GGUF file: everything before the tensor data, each number checked before it is used.

Layout: ``formats/gguf.md``; bounds: ``limits.py``.  The file is read in positioned pieces, never mapped.
"""

from __future__ import annotations

import os
import struct
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from qconv.errors import FormatError, UsageError
from qconv.formats import block_types_by_id
from qconv.gguf import limits
from qconv.gguf.file import ByteOrder, File, Strings, Tensor, dtype_of, is_shape, padded, tensor_bytes
from qconv.storage import LocalFile, StoredFile
from qconv.types import Metadata, TensorInfo, Value, ValueType

_FIRST_PIECE = 64 << 10
_LARGEST_PIECE = 16 << 20
_SMALLEST_KEY = 8 + 1 + 4 + 1
_SMALLEST_TENSOR = 8 + 1 + 4 + 4 + 8
_AGAIN = "it may be a partial download: fetch or copy it again"


def read(path: str | os.PathLike[str]) -> File:
    """The header of the GGUF file at ``path``; raises as ``read_header``."""
    with closing(LocalFile(Path(path))) as file:
        return read_header(file)


def read_header(file: StoredFile) -> File:
    """The header of an open GGUF file.

    Raises ``InputError`` when it cannot be read and ``FormatError`` when it is not a GGUF file, is truncated, or breaks
    a rule of the format or a bound of ``limits``.
    """
    return _Header(file).file()


class _Header:
    """The header's bytes as far as they were needed, and a position in them."""

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._size = file.size
        self._bytes = bytearray()
        self._at = 0
        self._order: ByteOrder = "little"

    def file(self) -> File:
        if self._size < 24 or self._take(4) != b"GGUF":
            self._fail("is not a GGUF file" if self._size >= 24 else "is too short for a GGUF file", offset=0)
        version = self._version()
        tensor_count = self._count("tensors", limits.TENSORS, _SMALLEST_TENSOR)
        key_count = self._count("metadata keys", limits.KEYS, _SMALLEST_KEY)
        metadata = self._metadata(key_count)
        alignment = self._alignment(metadata)
        records = self._records(tensor_count)
        data_offset = padded(self._at, alignment)
        tensors = {name: self._place(info, data_offset, offset, alignment) for name, (info, offset) in records.items()}
        self._check_overlaps(tensors)
        return File(self._file.location, version, self._order, alignment, metadata, tensors, data_offset, self._size)

    def _version(self) -> int:
        raw = self._take(4)
        version = int.from_bytes(raw, "little")
        if version & 0xFFFF == 0:  # a small number seen from the other end
            self._order = "big"
            version = int.from_bytes(raw, "big")
        if version not in limits.VERSIONS:
            hint = "convert it again with a current llama.cpp" if version == 1 else "qconv reads versions 2 and 3"
            self._fail(f"has GGUF version {version}", offset=4, hint=hint)
        return version

    def _count(self, what: str, most: int, smallest: int) -> int:
        """How many ``what`` follow, at most ``most``, each of at least ``smallest`` bytes."""
        at = self._at
        count: int = self._scalar("Q")
        if count > most:
            self._fail(f"claims {count} {what}; at most {most} are allowed", offset=at)
        if count * smallest > self._size - self._at:
            self._fail(f"claims {count} {what}, more than fit into its {self._size} bytes", offset=at)
        return count

    def _metadata(self, count: int) -> Metadata:
        metadata: Metadata = {}
        for _ in range(count):
            at = self._at
            key = self._string("a metadata key", limits.KEY_BYTES)
            if not key:
                self._fail("has a metadata key without a name", offset=at)
            if key in metadata:
                self._fail(f"has the metadata key '{key}' twice", offset=at)
            metadata[key] = self._value(key)
        return metadata

    def _value(self, key: str) -> Value:
        kind = self._value_type(key)
        if kind is ValueType.ARRAY:
            element = self._value_type(key)
            if element is ValueType.ARRAY:  # no model has such, and llama.cpp loads none
                self._fail(f"nests arrays in the metadata key '{key}'")
            return Value(kind, self._array(key, element), element)
        if kind is ValueType.STRING:
            return Value(kind, self._string(f"the metadata key '{key}'", limits.HEADER_BYTES))
        dtype = dtype_of(kind, self._order)
        data = np.frombuffer(self._take(dtype.itemsize), dtype)[0].item()
        return Value(kind, data != 0 if kind is ValueType.BOOL else data)

    def _value_type(self, key: str) -> ValueType:
        at = self._at
        number = self._scalar("I")
        try:
            return ValueType(number)
        except ValueError:
            self._fail(f"has an unknown value type, {number}, in the metadata key '{key}'", offset=at)

    def _array(self, key: str, element: ValueType) -> Any:
        at = self._at
        count: int = self._scalar("Q")
        size = 8 if element is ValueType.STRING else dtype_of(element, self._order).itemsize
        if count * size > self._size - self._at:
            self._fail(f"claims {count} items in the metadata key '{key}', more than fit into the file", offset=at)
        if element is ValueType.STRING:
            return self._strings(count)
        values = np.frombuffer(self._take(count * size), dtype_of(element, self._order))
        return values != 0 if element is ValueType.BOOL else values.astype(values.dtype.newbyteorder("="), copy=False)

    def _strings(self, count: int) -> Strings:
        """Steps over ``count`` strings: a length that leads out of the file stops it."""
        start = at = self._at
        unpack = struct.Struct("<Q" if self._order == "little" else ">Q").unpack_from
        left = count
        while left:
            self._need(at + 8)
            held = self._bytes
            last = len(held) - 8
            while left and at <= last:
                at += 8 + unpack(held, at)[0]
                left -= 1
        return Strings(self._take(at - start), count, self._order)

    def _alignment(self, metadata: Metadata) -> int:
        value = metadata.get("general.alignment")
        if value is None:
            return limits.DEFAULT_ALIGNMENT
        if value.type is not ValueType.UINT32 or not is_alignment(value.data):
            self._fail(f"has an alignment that is not a power of two up to {limits.ALIGNMENT}: {value.data!r}")
        return int(value.data)

    def _records(self, count: int) -> dict[str, tuple[TensorInfo, int]]:
        """Tensor records with their offsets inside the tensor data."""
        records: dict[str, tuple[TensorInfo, int]] = {}
        types = block_types_by_id()
        for _ in range(count):
            at = self._at
            name = self._string("a tensor's name", limits.NAME_BYTES)
            if name in records:
                self._fail("occurs twice", offset=at, tensor=name)
            dimensions = self._scalar("I")
            if dimensions > limits.DIMENSIONS:
                self._fail(f"has {dimensions} dimensions, at most 4 are allowed", offset=at, tensor=name)
            shape = tuple(self._scalar("Q") for _ in range(dimensions))[::-1]
            number, offset = self._scalar("I"), self._scalar("Q")
            if number not in types:
                hint = "it may be newer than this qconv, or a type that ggml dropped"
                self._fail(f"has an unknown type, {number}", offset=at, tensor=name, hint=hint)
            if not is_shape(shape):
                self._fail(f"has an impossible shape, {list(shape)}", offset=at, tensor=name)
            records[name] = TensorInfo(name, types[number].name, shape), offset
        return records

    def _place(self, info: TensorInfo, data_offset: int, offset: int, alignment: int) -> Tensor:
        try:
            size = tensor_bytes(info)
        except UsageError as e:
            self._fail(e.message, tensor=info.name)
        if offset % alignment:
            self._fail(
                f"lies at offset {offset}, which is not a multiple of the alignment, {alignment}", tensor=info.name
            )
        end = data_offset + offset + size
        if end > self._size:
            self._fail(f"needs {end} bytes, but the file has {self._size}", tensor=info.name, hint=_AGAIN)
        return Tensor(info, data_offset + offset, size)

    def _check_overlaps(self, tensors: dict[str, Tensor]) -> None:
        end, before = 0, ""
        for tensor in sorted(tensors.values(), key=lambda t: t.offset):
            if tensor.size and tensor.offset < end:
                self._fail(f"overlaps tensor '{before}'", tensor=tensor.info.name, offset=tensor.offset)
            if tensor.size:
                end, before = tensor.offset + tensor.size, tensor.info.name

    def _string(self, what: str, most: int) -> str:
        """A string; bytes that are not UTF-8 become lone surrogates, which writing turns back into the same bytes."""
        at = self._at
        length = self._scalar("Q")
        if length > most:
            self._fail(f"gives {what} {length} bytes; at most {most} are allowed", offset=at)
        return self._take(length).decode("utf-8", "surrogateescape")

    def _scalar(self, code: str) -> int:
        size = 8 if code == "Q" else 4
        return int.from_bytes(self._take(size), self._order)

    def _take(self, size: int) -> bytes:
        start, end = self._at, self._at + size
        if end > len(self._bytes):
            self._need(end)
        self._at = end
        return bytes(memoryview(self._bytes)[start:end])

    def _need(self, end: int) -> None:
        """Holds the header's bytes up to ``end``."""
        if end > self._size:
            self._fail(f"ends inside its header, which needs at least {end} bytes", offset=self._size, hint=_AGAIN)
        if end > limits.HEADER_BYTES:
            self._fail(f"has a header of more than {limits.HEADER_BYTES} bytes", offset=limits.HEADER_BYTES)
        while len(self._bytes) < end:
            held = len(self._bytes)
            # doubling, so that small headers cost one small read and large ones few
            wanted = max(end - held, min(max(held, _FIRST_PIECE), _LARGEST_PIECE))
            piece = self._file.read(wanted, held)
            if not piece:
                self._fail("became shorter while it was read", offset=held)
            self._bytes += piece

    def _fail(
        self, message: str, *, offset: int | None = None, tensor: str | None = None, hint: str | None = None
    ) -> NoReturn:
        raise FormatError(message, file=self._file.location, tensor=tensor, offset=offset, hint=hint)


def is_alignment(number: int) -> bool:
    """Whether ``number`` may stand in ``general.alignment``."""
    return 0 < number <= limits.ALIGNMENT and number & (number - 1) == 0
