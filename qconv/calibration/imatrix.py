"""Importance matrices: llama.cpp's two formats (GGUF and the older ``.dat``), read with llama-quantize's meaning.

An entry holds, for each matrix of a tensor (one, or one per expert), the mean squared activation of every column.
Sources: llama.cpp's ``common/imatrix-loader.cpp`` for the layouts, ``tools/quantize/quantize.cpp`` for what is made of
them.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from qconv import gguf
from qconv.calibration.floats import COUNTS, SQUARES, read_floats
from qconv.errors import FormatError, InputError, UsageError
from qconv.types import Metadata, Value, ValueType

Floats = NDArray[np.float32]

_LONGEST_STRING = 127
"""Bytes llama-quantize keeps of a string it writes itself."""
_KINDS = "an importance matrix is a GGUF, or a .dat that llama-imatrix wrote"
_KEYS = ("imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size")


@dataclass(frozen=True, slots=True)
class Imatrix:
    """An importance matrix as read: ``entries`` by tensor name, flat; all values are finite.

    ``file`` is the path as the user wrote it, ``dataset`` the first data set it was computed on, ``chunks`` on how many
    pieces of it (0 when unknown).  Bytes that are no UTF-8 are kept in both, as surrogates.
    """

    file: str
    entries: dict[str, Floats]
    dataset: str | None = None
    chunks: int = 0

    def metadata(self) -> Metadata:
        """``quantize.imatrix.*`` as llama-quantize writes it; empty when no entry is left."""
        if not self.entries:
            return {}
        keys = {"quantize.imatrix.file": Value.string(_cut(self.file))}
        if self.dataset is not None:
            keys["quantize.imatrix.dataset"] = Value.string(_cut(self.dataset))
        keys["quantize.imatrix.entries_count"] = Value.uint32(len(self.entries))
        if self.chunks > 0:
            keys["quantize.imatrix.chunks_count"] = Value.uint32(self.chunks)
        return keys


def read_imatrix(path: str | os.PathLike[str], include: Iterable[str] = (), exclude: Iterable[str] = ()) -> Imatrix:
    """The importance matrix at ``path``, with the entries whose name contains one of ``include`` (all when empty) and
    none of ``exclude``.

    Raises FormatError when it is malformed or holds a value that is not finite, UsageError when both lists are given.
    """
    include, exclude = tuple(include), tuple(exclude)
    if include and exclude:
        raise UsageError("--include-weights and --exclude-weights cannot be used together")
    try:
        with Path(path).open("rb") as f:
            is_gguf = f.read(4) == b"GGUF"
            f.seek(0)
            whole = _read_gguf(path, f) if is_gguf else _read_dat(path, f)
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror}", file=path) from e
    entries = {
        name: entry
        for name, entry in whole.entries.items()
        if not any(part in name for part in exclude) and (not include or any(part in name for part in include))
    }
    for name, entry in entries.items():
        if not np.isfinite(entry).all():
            raise FormatError("holds an importance that is not finite", file=path, tensor=name)
    return Imatrix(whole.file, entries, whole.dataset, whole.chunks)


def _read_gguf(path: str | os.PathLike[str], f: BinaryIO) -> Imatrix:
    """Sums of squares and counts per matrix; a matrix never used counts as 1 throughout."""
    file = gguf.read(Path(path))
    missing = [key for key in _KEYS if key not in file.metadata]
    if missing:
        raise FormatError(f"is not an importance matrix: {missing[0]} is missing", file=path)
    entries: dict[str, Floats] = {}
    names = {name[: -len(end)] for name in file.tensors for end in (SQUARES, COUNTS) if name.endswith(end)}
    for name in sorted(names):
        sums, counts = (read_floats(f, file, name + end) for end in (SQUARES, COUNTS))
        if not counts.size or sums.size % counts.size:
            raise FormatError(f"{sums.size} sums do not go with {counts.size} counts", file=path, tensor=name)
        if not np.isfinite(counts).all():
            raise FormatError("holds a count that is not finite", file=path, tensor=name)
        used = np.floor(counts.astype(np.float64) + 0.5).astype(np.float32).reshape(-1, 1)
        with np.errstate(over="ignore", invalid="ignore"):
            means = sums.reshape(counts.size, -1) / np.where(used > 0, used, np.float32(1))
        entries[name] = np.where(used > 0, means, np.float32(1)).astype(np.float32, copy=False).reshape(-1)
    if not entries:
        raise FormatError("is not an importance matrix: it holds no sums", file=path)
    datasets = file.metadata[_KEYS[0]]
    first = None
    if datasets.type == ValueType.ARRAY and datasets.element == ValueType.STRING and len(datasets.data):
        first = datasets.data[0]
        first = first.decode("utf-8", "surrogateescape") if isinstance(first, bytes) else str(first)
    chunks = file.metadata[_KEYS[1]].data
    return Imatrix(os.fspath(path), entries, first, chunks if isinstance(chunks, int) and 0 < chunks < 1 << 31 else 0)


def _read_dat(path: str | os.PathLike[str], f: BinaryIO) -> Imatrix:
    """Little-endian: a count of entries, each of (length, name, calls, number of values, values); chunks; data set.

    Values are sums over calls; what follows the entries may be missing.
    """
    size = os.fstat(f.fileno()).st_size

    def number(what: str, least: int) -> int:
        at = f.tell()
        data = f.read(4)
        value = struct.unpack("<i", data)[0] if len(data) == 4 else None
        if value is None or value < least:
            message = f"is not an importance matrix, or is cut short: bad {what}"
            raise FormatError(message, file=path, offset=at, hint=_KINDS)
        return int(value)

    def chunk(what: str, length: int) -> bytes:
        at = f.tell()
        if length > size - at:
            message = f"is not an importance matrix, or is cut short: {what} of {length} bytes"
            raise FormatError(message, file=path, offset=at, hint=_KINDS)
        return f.read(length)

    entries: dict[str, Floats] = {}
    for _ in range(number("number of entries", 1)):
        name = chunk("name", number("length of a name", 1)).split(b"\0")[0].decode("utf-8", "surrogateescape")
        calls = number("number of calls", -(1 << 31))
        values = np.frombuffer(chunk("values", 4 * number("number of values", 1)), "<f4").astype(np.float32)
        with np.errstate(invalid="ignore"):  # a signalling NaN; who takes the values looks whether they are finite
            entries[name] = values / np.float32(calls) if calls > 0 else values
    # older files end earlier; of a count that is cut short llama-quantize takes what is there
    chunks = int.from_bytes(f.read(4).ljust(4, b"\0"), "little", signed=True)
    dataset = None
    with contextlib.suppress(FormatError):
        text = chunk("data set", number("length of the data set", 1))
        dataset = text.split(b"\0")[0].decode("utf-8", "surrogateescape")
    return Imatrix(os.fspath(path), entries, dataset, chunks)


def _cut(text: str) -> str:
    """The text's first bytes: like llama-quantize, not minding where a character ends."""
    return text.encode("utf-8", "surrogateescape")[:_LONGEST_STRING].decode("utf-8", "surrogateescape")
