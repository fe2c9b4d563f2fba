"""Do all blocks decode to numbers?"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv import blocks
from qconv.convert import pool
from qconv.convert.options import Progress
from qconv.convert.pool import Stop
from qconv.convert.values import widened
from qconv.errors import FormatError, InputError, UnsupportedError
from qconv.formats import block_types
from qconv.gguf import File, Tensor
from qconv.verify.report import Problem

_WEIGHTS = 1 << 17
"""Weights decoded at once, in whole blocks."""

_INTEGERS = ("I8", "I16", "I32", "I64")


@dataclass(frozen=True, slots=True)
class _Piece:
    """Blocks ``[start, stop)`` of a tensor, counted from its first."""

    file: int
    tensor: Tensor
    start: int
    stop: int


def problems(files: Sequence[File], threads: int, progress: Progress) -> Iterator[Problem]:
    """Tensors with a weight that is NaN or infinite, which one damaged scale is enough for."""
    sizes = [t.size for file in files for t in file.tensors.values() if t.info.dtype not in _INTEGERS]
    progress.begin(sum(sizes), len(sizes), 0)
    bad: dict[str, tuple[int, int]] = {}
    lock = threading.Lock()
    stop = Stop()
    with ExitStack() as stack:
        descriptors = [stack.enter_context(file.path.open("rb", buffering=0)).fileno() for file in files]

        def look(piece: _Piece, buffer: NDArray[np.float32]) -> None:
            stop.check()
            info = piece.tensor.info
            data = _read(files[piece.file], descriptors[piece.file], piece)
            if not _finite(info.dtype, data, buffer):
                with lock:
                    file, first = bad.get(info.name, (piece.file, piece.start))
                    bad[info.name] = (file, min(first, piece.start))
            progress.advance(info.name, len(data))

        buffers = [np.empty(_WEIGHTS, np.float32) for _ in range(threads)]
        pool.carry_out(_pieces(files), look, buffers, stop, lambda: None)
    for name, (file, first) in sorted(bad.items()):
        weight = first * block_types()[files[file].tensors[name].info.dtype].weights
        yield Problem(files[file].path, name, f"has NaN or infinite weights, from weight {weight} on or a little after")


def _pieces(files: Sequence[File]) -> Iterator[_Piece]:
    for number, file in enumerate(files):
        for tensor in file.tensors.values():
            if tensor.info.dtype not in _INTEGERS:
                layout = block_types()[tensor.info.dtype]
                step = _WEIGHTS // layout.weights
                count = tensor.size // layout.bytes
                for start in range(0, count, step):
                    yield _Piece(number, tensor, start, min(count, start + step))


def _read(file: File, descriptor: int, piece: _Piece) -> NDArray[np.uint8]:
    size = block_types()[piece.tensor.info.dtype].bytes
    wanted = (piece.stop - piece.start) * size
    try:
        data = os.pread(descriptor, wanted, piece.tensor.offset + piece.start * size)
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror}", file=file.path) from e
    if len(data) < wanted:
        raise FormatError("ends inside the tensor", file=file.path, tensor=piece.tensor.info.name)
    return np.frombuffer(data, np.uint8)


def _finite(dtype: str, data: NDArray[np.uint8], buffer: NDArray[np.float32]) -> bool:
    if dtype in ("F64", "F32", "F16"):
        return bool(np.isfinite(data.view({"F64": np.float64, "F32": np.float32, "F16": np.float16}[dtype])).all())
    if dtype == "BF16":
        return bool(np.isfinite(widened(data.view(np.uint16), dtype)).all())
    layout = block_types()[dtype]
    values = buffer[: data.size // layout.bytes * layout.weights].reshape(1, -1)
    try:
        blocks.decode(dtype, data.reshape(1, -1), out=values)
    except UnsupportedError:
        return True
    return bool(np.isfinite(values).all())
