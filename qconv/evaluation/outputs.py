"""The unquantized model's outputs on a text, computed once and kept in the user's cache for the next evaluation.

They are its final hidden states in 16 bits with its output matrix, or logits where a model makes them in another way.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv import gguf, platform
from qconv.errors import FormatError, InputError, OutputError, UsageError
from qconv.formats import block_types
from qconv.runtime import Head, Reference, Session
from qconv.types import TensorInfo, Value

_HEAD, _OUTPUTS = "head", "outputs"
_KINDS = {"F16": "<f2", "F32": "<f4"}
_KEPT_DAYS = 30
_LARGEST = 8 << 30
"""Bytes of outputs that are kept once they are not needed any more."""
_TOLD = 100_000_000
_ELSEWHERE = "set XDG_CACHE_HOME to a folder with room for them"


def keep(
    session: Session,
    tokens: NDArray[np.int32],
    path: Path,
    progress: Callable[[int], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Reference:
    """Computes the outputs chunk by chunk and keeps them at ``path``; ``note`` is told how large they become.

    Raises OutputError where there is no room for them, and as ``Session.logits`` does.
    """
    try:
        with np.errstate(over="raise"):  # hidden states beyond 16 bits
            states = (each.astype(np.float16) for each in session.hidden(tokens, progress=progress))
            return _write(path, session, tokens, states, session.head, note)
    except (UsageError, FloatingPointError):
        return _write(path, session, tokens, session.logits(tokens, progress=progress), None, note)


def remove_large(path: Path) -> None:
    """Removes outputs that are too large to be kept."""
    with suppress(OSError):
        if path.stat().st_size > _LARGEST:
            path.unlink()


def load(path: Path, tokens: NDArray[np.int32], chunks: int) -> Reference | None:
    """What ``keep`` kept, None when it is not there or not whole."""
    try:
        file = gguf.read(path)
        outputs = file.tensors.get(_OUTPUTS)
        if outputs is None or outputs.info.dtype not in _KINDS or len(outputs.info.shape) != 2:
            return None
        rows, columns = outputs.info.shape
        if chunks < 1 or rows % chunks:
            return None
        with path.open("rb") as f:
            head = None
            if (tensor := file.tensors.get(_HEAD)) is not None:
                f.seek(tensor.offset)
                data = np.frombuffer(f.read(tensor.size), np.uint8)
                shape = tensor.info.shape
                if len(shape) != 2 or len(data) != tensor.size:
                    return None
                head = Head(tensor.info.dtype, (shape[0], shape[1]), data)
            if (head is None) != (outputs.info.dtype == "F32") or (head is not None and head.shape[1] != columns):
                return None
        with suppress(OSError):
            os.utime(path)
        dtype = _KINDS[outputs.info.dtype]
        return Reference(tokens, _Chunks(path, outputs.offset, (chunks, rows // chunks, columns), dtype), head)
    except (OSError, InputError, FormatError):
        return None


class _Chunks:
    """Kept outputs, read one chunk at a time, as often as one likes."""

    def __init__(self, path: Path, offset: int, shape: tuple[int, int, int], dtype: str) -> None:
        self._path, self._offset, self._dtype = path, offset, np.dtype(dtype)
        self._chunks, self._rows, self._columns = shape

    def __iter__(self) -> Iterator[NDArray[Any]]:
        size = self._rows * self._columns * self._dtype.itemsize
        with self._path.open("rb") as f:
            f.seek(self._offset)
            for _ in range(self._chunks):
                data = f.read(size)
                if len(data) != size:
                    raise InputError("is cut short", file=self._path, hint="remove it")
                yield np.frombuffer(data, self._dtype).reshape(self._rows, self._columns)


def _write(
    path: Path,
    session: Session,
    tokens: NDArray[np.int32],
    chunks: Iterator[NDArray[Any]],
    head_of: Callable[[], Head] | None,
    note: Callable[[str], None] | None,
) -> Reference:
    """``head_of``: tells the head, once a chunk is there."""
    first, number = next(chunks), len(tokens) // session.context
    head = None if head_of is None else head_of()
    dtype = "F32" if head is None else "F16"
    rows, columns = first.shape
    infos = [TensorInfo(_OUTPUTS, dtype, (number * rows, columns))]
    if head is not None and head.type in block_types():
        infos.append(TensorInfo(_HEAD, head.type, head.shape))
    layout = gguf.header({"general.type": Value.string("outputs")}, infos)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        _prepare(path.parent, layout.size, note)
        with part.open("wb") as f:
            f.write(layout.header)
            f.seek(layout.tensors[_OUTPUTS].offset)
            for chunk in itertools.chain([first], chunks):
                f.write(np.ascontiguousarray(chunk, _KINDS[dtype]).tobytes())
            if head is not None and _HEAD in layout.tensors:
                f.seek(layout.tensors[_HEAD].offset)
                f.write(head.data.tobytes())
            f.truncate(layout.size)
        os.replace(part, path)
    except OSError as e:
        raise OutputError(f"cannot be written: {e.strerror}", file=path.parent, hint=_ELSEWHERE) from e
    finally:
        part.unlink(missing_ok=True)
    shape = (number, rows, columns)
    return Reference(tokens, _Chunks(path, layout.tensors[_OUTPUTS].offset, shape, _KINDS[dtype]), head)


def _prepare(folder: Path, size: int, note: Callable[[str], None] | None) -> None:
    """Makes room in ``folder`` for ``size`` bytes; raises OutputError where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if time.time() - old.stat().st_mtime > _KEPT_DAYS * 86400:
            old.unlink(missing_ok=True)
    free = platform.free_bytes(folder)
    if size > free:
        raise OutputError(
            f"{size:,} bytes are needed for the unquantized model's outputs, and {free:,} are free",
            file=folder,
            hint=f"take fewer tokens, with --tokens, or {_ELSEWHERE}",
        )
    if size > _TOLD and note is not None:
        note(f"the unquantized model's outputs take {size / 1e9:.1f} GB in {folder}")
