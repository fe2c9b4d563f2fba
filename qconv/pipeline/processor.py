"""One row block: read, rounded, encoded and handed to the sink."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from qconv import blocks, platform
from qconv.blocks.warm_up import Kernel
from qconv.errors import InputError, QconvError
from qconv.pipeline import encoding as encodings
from qconv.pipeline.memory import Gate
from qconv.pipeline.schedule import Block, Encoding, TensorWork
from qconv.pipeline.sink import Sink
from qconv.pipeline.sizing import Sizes
from qconv.pipeline.workers import Cancellation
from qconv.tensors import FLOATS, LazyTensor, rounds
from qconv.types import Rows


class Buffers:
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


class _Prepared:
    """A tensor that is prepared by the first worker that needs it, while the others wait."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tensor: LazyTensor | None = None
        self.factors: dict[int, blocks.Factor] = {}
        """Of the Hessians that were last needed, by the number of the matrix."""


class Processor:
    """Processes row blocks for a pool of workers."""

    def __init__(self, sink: Sink, sizes: Sizes, threads: int, cancellation: Cancellation) -> None:
        """``threads``: how many workers may encode at once.  There are more, so that reading and writing go on too."""
        self._sink = sink
        self._gate = Gate(sizes.gate)
        self._sizes = sizes
        self._threads = threads
        self._encoding = threading.Semaphore(threads)
        self._residents = Gate(sizes.resident)
        self._cancellation = cancellation
        self._lock = threading.Lock()
        self._prepared: dict[TensorWork, _Prepared] = {}
        self._factors: WeakValueDictionary[tuple[object, int], blocks.Factor] = WeakValueDictionary()
        """Those that some tensor holds: others that read the same input take them."""
        self.overflows: dict[tuple[str, str], encodings.Overflow] = {}
        """By tensor and the type that did not hold its weights."""

    def process_block(self, block: Block, buffers: Buffers) -> None:
        """Raises what reading, encoding and the sink raise, with the tensor's name."""
        with self._naming(block):
            tensor = self._prepare(block.work)
            needed = self._sizes.cost(block.work, block.stop - block.start)
            large = needed > self._sizes.common
            with self._gate.hold(needed) if large else nullcontext():
                self._cancellation.check()
                self._process(tensor, block, Buffers() if large else buffers)

    def release(self, work: TensorWork) -> None:
        """Lets go of what preparing a tensor took, when all of its rows are done."""
        with self._lock:
            self._prepared.pop(work, None)
        self._residents.release(work.resident_bytes)

    def _prepare(self, work: TensorWork) -> LazyTensor:
        with self._lock:
            entry = self._prepared.setdefault(work, _Prepared())
        with entry.lock:
            if entry.tensor is None:
                self._residents.acquire(
                    work.resident_bytes, self._cancellation.check
                )  # what comes before is on its way
                entry.tensor = work.tensor.prepare()
            return entry.tensor

    def _factor(self, block: Block, encoding: Encoding) -> blocks.Factor | None:
        """What rounding goes by: made by the first worker that needs it, on all cores, while the others wait."""
        hessian = encoding.hessian
        if hessian is None:
            return None
        matrix = block.start * hessian.matrices // block.work.rows
        with self._lock:
            entry = self._prepared[block.work]
        with entry.lock:
            if matrix not in entry.factors:
                self._cancellation.check()
                while len(entry.factors) > 1:  # experts come one after the other
                    entry.factors.pop(next(iter(entry.factors)))
                with self._lock:
                    factor = self._factors.get((hessian.key, matrix))
                if factor is None:
                    factor = hessian.factor(matrix, self._threads)
                    platform.give_back_memory()  # of its threads
                    with self._lock:
                        self._factors[hessian.key, matrix] = factor
                entry.factors[matrix] = factor
            return entry.factors[matrix]

    def _process(self, tensor: LazyTensor, block: Block, buffers: Buffers) -> None:
        try:
            rows = tensor.read(block.start, block.stop, buffers.read(block.size))
        except OSError as e:
            raise InputError(f"cannot be read: {e.strerror or e}") from e
        for encoding in block.encodings:
            encoded = self._encode(rows, block, encoding, buffers)
            self._cancellation.check()
            self._sink.take(block, encoding, rows, encoded)

    def _encode(self, rows: Rows, block: Block, encoding: Encoding, buffers: Buffers) -> NDArray[np.uint8]:
        dtype = block.work.tensor.dtype
        if encoding.block_type == dtype and not rounds(dtype, encoding.intermediate_type):
            if encoding.non_finite != "keep":
                encodings.require_finite(np.ascontiguousarray(rows), dtype)
            return np.ascontiguousarray(rows).view(np.uint8)
        importance = encoding.importance
        matrix = None if importance is None else importance[block.start * len(importance) // block.work.rows]
        context = blocks.EncodeContext(encoding.search, matrix, self._factor(block, encoding))
        out = buffers.encoded(block.stop - block.start, encoding.row_bytes)
        with self._encoding:
            overflow = encodings.encode(
                rows,
                dtype,
                encoding.intermediate_type,
                encoding.block_type,
                context,
                out,
                self._cancellation.check,
                encoding.non_finite,
            )
        if overflow.count:
            with self._lock:
                key = (block.work.name, encoding.block_type)
                self.overflows[key] = self.overflows.get(key, encodings.Overflow()) + overflow
        return out

    @contextmanager
    def _naming(self, block: Block) -> Iterator[None]:
        """Errors raised inside say which tensor they are about."""
        try:
            yield
        except blocks.NonFinite as e:
            located = blocks.NonFinite(block.start + e.row, e.column, tensor=block.work.name, hint=e.hint)
            located.message = e.message.replace(f"row {e.row},", f"row {located.row},", 1)
            if all(encoding.non_finite == "ask" for encoding in block.encodings):
                located.hint = f"{located.hint}; --allow-non-finite keeps it"
            if names := [name for name in block.work.tensor.sources if name != block.work.name]:
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                located.message += f", made from '{names[0]}'{more}"
            raise located from e
        except MemoryError as e:
            hint = "use fewer --threads or less --memory"
            raise QconvError("there is not enough memory", tensor=block.work.name, hint=hint) from e
        except QconvError as e:
            if e.tensor is None:
                e.tensor = block.work.name
            raise


def encoders(works: Iterable[TensorWork]) -> list[Kernel]:
    """Every encoder that is needed, for rows rounded before too."""
    needed: set[Kernel] = set()
    for dtype, e in ((work.tensor.dtype, e) for work in works for e in work.encodings):
        if e.block_type in FLOATS or e.block_type == dtype:
            continue
        kind = dtype
        if rounds(dtype, e.intermediate_type):
            kind = e.intermediate_type
            needed.add(Kernel(kind, blocks.SEARCHES[0], False, dtype))
        needed.add(Kernel(e.block_type, e.search, e.importance is not None, kind, e.hessian is not None))
    return sorted(needed)
