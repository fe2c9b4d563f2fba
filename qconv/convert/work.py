"""One row block: read, rounded, encoded and written to every file that wants it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qconv import blocks
from qconv.convert import values
from qconv.convert.cost import cost
from qconv.convert.fit import Fit
from qconv.convert.memory import Gate
from qconv.convert.pool import Stop
from qconv.convert.schedule import Block, Encoding, Target, Tensor
from qconv.errors import InputError, QconvError
from qconv.formats import block_types
from qconv.types import Rows, TensorReader


class Sink(Protocol):
    """Where encoded rows go: into files, or against what is in them."""

    def take(self, target: Target, start: int, stop: int, data: Rows) -> None:
        """Rows ``[start, stop)`` as uint8 ``(rows, row bytes)``, which the caller will use again."""


class Space:
    """A worker's reused buffers: one for what it reads, one for what it encodes."""

    def __init__(self) -> None:
        self._read = np.empty(0, np.uint8)
        self._encoded = np.empty(0, np.uint8)

    def read(self, size: int) -> NDArray[np.uint8]:
        if len(self._read) < size:
            self._read = np.empty(size, np.uint8)
        return self._read[:size]

    def encoded(self, rows: int, row_bytes: int) -> NDArray[np.uint8]:
        if len(self._encoded) < rows * row_bytes:
            self._encoded = np.empty(rows * row_bytes, np.uint8)
        return self._encoded[: rows * row_bytes].reshape(rows, row_bytes)


class Work:
    """Carries out row blocks for a pool of workers."""

    def __init__(self, reader: TensorReader, sink: Sink, sizes: Fit, threads: int, stop: Stop) -> None:
        """``threads``: how many workers may encode at once.  There are more, so that reading and writing go on too."""
        self._reader = reader
        self._sink = sink
        self._gate = Gate(sizes.gate)
        self._common = sizes.common
        self._encoding = threading.Semaphore(threads)
        self._stop = stop

    def carry_out(self, block: Block, space: Space) -> None:
        needed = cost(block.tensor, block.stop - block.start)
        large = needed > self._common
        with self._gate.hold(needed) if large else nullcontext():
            self._stop.check()
            try:
                self._carry_out(block, Space() if large else space)
            except blocks.NonFinite as e:
                found = blocks.NonFinite(block.start + e.row, e.column, tensor=block.tensor.name)
                if names := [name for name in block.tensor.recipe.sources if name != block.tensor.name]:
                    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                    found.message += f", made from '{names[0]}'{more}"
                raise found from e
            except MemoryError as e:
                hint = "use fewer --threads or less --memory"
                raise QconvError("there is not enough memory", tensor=block.tensor.name, hint=hint) from e
            except QconvError as e:
                if e.tensor is None:
                    e.tensor = block.tensor.name
                raise

    def _carry_out(self, block: Block, space: Space) -> None:
        tensor = block.tensor
        try:
            rows = tensor.recipe.read(self._reader, block.start, block.stop, space.read(block.size))
        except OSError as e:
            raise InputError(f"cannot be read: {e.strerror or e}", tensor=tensor.name) from e
        for encoding in block.encodings:
            data = self._encoded(rows, block, encoding, space)
            for target in encoding.targets:
                self._stop.check()
                self._sink.take(target, block.start, block.stop, data)

    def _encoded(self, rows: Rows, block: Block, encoding: Encoding, space: Space) -> Rows:
        dtype = block.tensor.recipe.dtype
        if encoding.block_type == dtype and not values.loses(dtype, encoding.stored):
            return np.ascontiguousarray(rows).view(np.uint8)
        importance = encoding.importance
        matrix = None if importance is None else importance[block.start * len(importance) // block.tensor.rows]
        out = space.encoded(block.stop - block.start, encoding.row_bytes)
        with self._encoding:
            values.encode(
                rows, dtype, encoding.stored, encoding.block_type, matrix, encoding.search, out, self._stop.check
            )
        return out


Encoder = tuple[str, str, bool, str]
"""What decides which compiled code encodes: block type, search, whether there is an importance, type of the rows."""


def encoders(tensors: Iterable[Tensor]) -> list[Encoder]:
    """Every encoder that is needed."""
    found = {
        (e.block_type, e.search, e.importance is not None, _rows_of(t.recipe.dtype, e.stored))
        for t in tensors
        for e in t.encodings
        if e.block_type not in values.FLOATS and e.block_type != t.recipe.dtype
    }
    return sorted(found)


def prepare(encoder: Encoder) -> None:
    """Loads or compiles an encoder, so that workers find it ready and memory can be reckoned."""
    block_type, search, weighed, dtype = encoder
    columns = block_types()[block_type].weights
    rows = np.zeros((1, columns), {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}[dtype])
    blocks.encode(block_type, rows, np.ones(columns, np.float32) if weighed else None, search=search)


def _rows_of(dtype: str, stored: str) -> str:
    """The plain type in which rows reach the encoder."""
    return stored if values.loses(dtype, stored) else dtype
