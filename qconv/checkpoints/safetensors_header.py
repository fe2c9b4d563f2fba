"""Checks and reads the header of a safetensors file: 8 bytes of length, then JSON, then the tensors without holes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
import safetensors

from qconv import gguf
from qconv.checkpoints.dtypes import ARRAYS, size
from qconv.checkpoints.lookalikes import refuse_lookalike
from qconv.errors import FormatError, InputError, UnsupportedError
from qconv.types import TensorInfo

HEADER_BYTES = 100_000_000
"""The safetensors library's own bound."""
DIMENSIONS = 32
_AGAIN = "it may be a partial download: fetch or copy it again"

_Count = Annotated[int, msgspec.Meta(ge=0, le=gguf.limits.ELEMENTS)]


class _Record(msgspec.Struct):
    dtype: str
    shape: Annotated[tuple[_Count, ...], msgspec.Meta(max_length=DIMENSIONS)]
    data_offsets: tuple[_Count, _Count]


def read_header(path: Path, descriptor: int) -> tuple[tuple[TensorInfo, int], ...]:
    """The tensors of the open safetensors file ``path``, sorted by name, each with its first byte's place in the file.

    Raises ``FormatError`` when it is none or is damaged, ``UnsupportedError`` for a type qconv does not know.
    """
    try:
        file_size = os.fstat(descriptor).st_size
        first = os.pread(descriptor, 512, 0)
        refuse_lookalike(path, first)
        if len(first) < 8:
            raise FormatError("is too short for a safetensors file", file=path, hint=_AGAIN)
        length = int.from_bytes(first[:8], "little")
        if length > HEADER_BYTES:
            raise FormatError(f"claims a header of {length} bytes: it is no safetensors file", file=path, offset=0)
        if 8 + length > file_size:
            message = f"ends inside its header: {file_size} of at least {8 + length} bytes"
            raise FormatError(message, file=path, hint=_AGAIN)
        data = os.pread(descriptor, length, 8)
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror}", file=path) from e
    tensors = _tensors(path, _records(path, data), 8 + length, file_size)
    _ask_library(path)
    return tensors


def _ask_library(path: Path) -> None:
    """The safetensors library judges the header too: it is the format's own reader."""
    try:
        with safetensors.safe_open(path, "numpy"):
            pass
    except (safetensors.SafetensorError, OSError) as e:
        raise FormatError(f"is refused by the safetensors library: {e}", file=path) from e


def _records(path: Path, data: bytes) -> dict[str, _Record]:
    try:
        value: Any = msgspec.json.decode(data)
        if not isinstance(value, dict):
            raise FormatError("has a header that is no JSON object", file=path, offset=8)
        msgspec.convert(value.pop("__metadata__", None), dict[str, str] | None)
        return msgspec.convert(value, dict[str, _Record])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise FormatError(f"has a malformed header: {e}", file=path, offset=8) from e


def _tensors(
    path: Path, records: dict[str, _Record], data_offset: int, file_size: int
) -> tuple[tuple[TensorInfo, int], ...]:
    placed: list[tuple[TensorInfo, int]] = []
    expected, before = 0, ""
    for name, record in sorted(records.items(), key=lambda item: item[1].data_offsets):
        if len(name) > gguf.limits.NAME_BYTES:
            message = f"names a tensor by {len(name):,} characters; the most are {gguf.limits.NAME_BYTES:,}"
            raise FormatError(message, file=path, offset=8)
        info = TensorInfo(name, record.dtype, record.shape)
        start, end = record.data_offsets
        if info.dtype not in ARRAYS:
            hint = f"qconv reads {', '.join(ARRAYS)}"
            raise UnsupportedError(f"has the unknown type '{info.dtype}'", file=path, tensor=name, hint=hint)
        if not gguf.is_shape(record.shape) or end - start != size(info):
            message = f"claims bytes {start} to {end}, which do not fit {info.dtype}{list(info.shape)}"
            raise FormatError(message, file=path, tensor=name)
        if start != expected:
            what = f"overlaps tensor '{before}'" if start < expected else f"leaves a hole of {start - expected} bytes"
            raise FormatError(what, file=path, tensor=name, offset=data_offset + start)
        if data_offset + end > file_size:
            message = f"needs {data_offset + end} bytes, but the file has {file_size}"
            raise FormatError(message, file=path, tensor=name, hint=_AGAIN)
        placed.append((info, data_offset + start))
        expected, before = end, name
    if data_offset + expected != file_size:
        raise FormatError(f"has {file_size - data_offset - expected} bytes that belong to no tensor", file=path)
    return tuple(sorted(placed, key=lambda item: item[0].name))
