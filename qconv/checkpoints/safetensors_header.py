"""Checks and reads the header of a safetensors file: 8 bytes of length, then JSON, then the tensors without holes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import safetensors

from qconv import gguf, platform
from qconv.checkpoints.sniff import refuse_lookalike
from qconv.errors import FormatError, UnsupportedError
from qconv.storage import LocalFile, StoredFile
from qconv.tensors import PLAIN, TensorLocation, size
from qconv.types import TensorInfo

HEADER_BYTES = 100_000_000
"""The safetensors library's own bound."""
DIMENSIONS = 32
_AGAIN = "it may be a partial download: fetch or copy it again"

_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_Count = Annotated[int, msgspec.Meta(ge=0, le=gguf.limits.ELEMENTS)]


class _Record(msgspec.Struct):
    dtype: str
    shape: Annotated[tuple[_Count, ...], msgspec.Meta(max_length=DIMENSIONS)]
    data_offsets: tuple[_Count, _Count]


class Header(NamedTuple):
    """``tensors``: sorted by name.  ``framework``: what saved the file, by its own word, such as "pt" or "mlx"."""

    tensors: tuple[TensorLocation, ...]
    framework: str | None


def read_header(file: StoredFile) -> Header:
    """The header of an open safetensors file.

    Raises ``FormatError`` when it is none or is damaged, ``UnsupportedError`` for a type qconv does not know.
    """
    first = file.read(512, 0)
    refuse_lookalike(file.location, first)
    if len(first) < 8:
        raise FormatError("is too short for a safetensors file", file=file.location, hint=_AGAIN)
    length = int.from_bytes(first[:8], "little")
    if length > HEADER_BYTES:
        message = f"claims a header of {length} bytes: it is not a safetensors file"
        raise FormatError(message, file=file.location, offset=0)
    if 8 + length > file.size:
        message = f"ends inside its header: {file.size} of at least {8 + length} bytes"
        raise FormatError(message, file=file.location, hint=_AGAIN)
    records, metadata = _records(file.location, file.read(length, 8))
    tensors = _tensors(file.location, records, 8 + length, file.size)
    if isinstance(file, LocalFile):
        _ask_library(file.path)
    return Header(tensors, metadata.get("format"))


def _ask_library(path: Path) -> None:
    """The safetensors library judges the header too: it is the format's own reader, but of local files only."""
    try:
        with safetensors.safe_open(platform.extended(path), "numpy"):
            pass
    except (safetensors.SafetensorError, OSError) as e:
        raise FormatError(f"is refused by the safetensors library: {e}", file=path) from e


def _records(location: str, data: bytes) -> tuple[dict[str, _Record], dict[str, str]]:
    try:
        value = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        if len(value) > gguf.limits.TENSORS + 1:
            message = f"has {len(value):,} tensors; at most {gguf.limits.TENSORS:,} are read"
            raise FormatError(message, file=location, offset=8)
        metadata = msgspec.json.decode(value.pop("__metadata__", b"null"), type=dict[str, str] | None)
    except _MALFORMED as e:
        raise FormatError(f"has a malformed header: {e}", file=location, offset=8) from e
    return {name: _record(location, name, raw) for name, raw in value.items()}, metadata or {}


def _record(location: str, name: str, raw: msgspec.Raw) -> _Record:
    try:
        return msgspec.json.decode(raw, type=_Record)
    except _MALFORMED as e:
        raise FormatError(f"has a malformed header: {e}", file=location, tensor=name, offset=8) from e


def _tensors(
    location: str, records: dict[str, _Record], data_offset: int, file_size: int
) -> tuple[TensorLocation, ...]:
    placed: list[TensorLocation] = []
    expected, before = 0, ""
    for name, record in sorted(records.items(), key=lambda item: item[1].data_offsets):
        if len(name) > gguf.limits.NAME_BYTES:
            message = f"names a tensor by {len(name):,} characters; the most are {gguf.limits.NAME_BYTES:,}"
            raise FormatError(message, file=location, offset=8)
        info = TensorInfo(name, record.dtype, record.shape)
        start, end = record.data_offsets
        if info.dtype not in PLAIN:
            hint = f"qconv reads {', '.join(PLAIN)}"
            raise UnsupportedError(f"has the unknown type '{info.dtype}'", file=location, tensor=name, hint=hint)
        if not gguf.is_shape(record.shape) or end - start != size(info):
            message = f"claims bytes {start} to {end}, which do not fit {info.dtype}{list(info.shape)}"
            raise FormatError(message, file=location, tensor=name)
        if start != expected:
            what = f"overlaps tensor '{before}'" if start < expected else f"leaves a hole of {start - expected} bytes"
            raise FormatError(what, file=location, tensor=name, offset=data_offset + start)
        if data_offset + end > file_size:
            message = f"needs {data_offset + end} bytes, but the file has {file_size}"
            raise FormatError(message, file=location, tensor=name, hint=_AGAIN)
        placed.append(TensorLocation(info, data_offset + start))
        expected, before = end, name
    if data_offset + expected != file_size:
        raise FormatError(f"has {file_size - data_offset - expected} bytes that belong to no tensor", file=location)
    return tuple(sorted(placed, key=lambda item: item.info.name))
