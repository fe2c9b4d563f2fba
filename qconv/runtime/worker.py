"""The child process: runs llama.cpp, which may end the process it is in.

It answers requests from standard input on standard output (``protocol``).  What llama.cpp and the C library print goes
to standard error, which the parent reads.  Ctrl-C is the parent's to answer; when the parent has gone, so does the
child.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import RawIOBase
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np

from qconv.errors import LlamaCppError, QconvError, UsageError
from qconv.runtime.engine import Engine, Runtime
from qconv.runtime.gram import GramObserver, Triangle
from qconv.runtime.head import HeadObserver, HeadProduct
from qconv.runtime.importance import OUTPUTS, ImportanceObserver
from qconv.runtime.library import library_path
from qconv.runtime.protocol import Array, error_values, receive, send
from qconv.runtime.results import Head, Sums, joined
from qconv.runtime.scores import Scorer
from qconv.runtime.selftest import prove

Answer = tuple[dict[str, Any], Sequence[Array]]


class Collection:
    """What is being summed up over a text."""

    def __init__(self, engine: Engine, importance: ImportanceObserver | None, gram: GramObserver | None) -> None:
        self._engine = engine
        self.importance = importance
        self.gram = gram
        self.tokens = np.zeros(engine.info.vocabulary, np.int64)
        self.triangles: Iterator[tuple[tuple[str, ...], int, Triangle]] | None = None

    def run(self, chunks: Array) -> None:
        observers = [o for o in (self.importance, self.gram) if o is not None]
        self._engine.observe(chunks, *observers)
        seen = self._engine.context.with_bos(chunks)
        self.tokens += np.bincount(seen.reshape(-1), minlength=len(self.tokens))


class Worker:
    """Answers requests: each public method is one, with the values and arrays of the message."""

    def __init__(self, threads: int) -> None:
        self._runtime: Runtime | None = None
        self._engine: Engine | None = None
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._scorer = Scorer(self._pool)
        self._collection: Collection | None = None
        self._head: HeadProduct | None = None
        self._kept: dict[int, Array] = {}

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            raise UsageError("no model is open")
        return self._engine

    @property
    def collection(self) -> Collection:
        if self._collection is None:
            raise UsageError("nothing is being collected")
        return self._collection

    def open(self, path: bytes, **options: Any) -> Answer:
        runtime = self._runtime = Runtime(library_path())
        prove(runtime)
        self._engine = Engine(runtime, Path(os.fsdecode(path)), threads=self._threads, **options)
        return msgspec.to_builtins(self._engine.info) | {"library": str(runtime.library.path)}, ()

    def tokenize(self, text: Array, special: bool) -> Answer:
        return {}, [self.engine.model.tokenize(text.tobytes(), special)]

    def census(self) -> Answer:
        census, weights = self.engine.census, self.engine.weights
        return msgspec.to_builtins(
            {"inputs": census.inputs(), "tables": census.tables, "tensors": weights.tensors()}
        ), ()

    def collect(self, *start: Array, importance: bool, output: bool, names: list[str], gram: list[str]) -> Answer:
        tensors = self.engine.runtime.tensors
        tokens, *arrays = start or (None,)
        sums = {name: Sums(*arrays[4 * i : 4 * i + 4]) for i, name in enumerate(names)}
        self._collection = Collection(
            self.engine,
            ImportanceObserver(tensors, output, sums) if importance else None,
            GramObserver(tensors, gram, self._pool) if gram else None,
        )
        if tokens is not None:
            self._collection.tokens += tokens
        return {}, ()

    def run(self, chunks: Array) -> Answer:
        self.engine.check(chunks)
        self.collection.run(chunks)
        return {}, ()

    def importance(self) -> Answer:
        observer = self.collection.importance
        sums = {} if observer is None else observer.sums()
        arrays = [array for s in sums.values() for array in (s.squares, s.sums, s.counts, s.peaks)]
        return {"names": list(sums)}, [self.collection.tokens, *arrays]

    def gram(self, restart: bool, names: list[str] | None) -> Answer:
        """The next input's H as panels of its lower triangle, of those that one of ``names`` reads where there are any;
        ``tensors`` is empty after the last."""
        observer = self.collection.gram
        if observer is not None and (restart or self.collection.triangles is None):
            observer.check()
            self.collection.triangles = observer.triangles(names)
        item = next(self.collection.triangles, None) if self.collection.triangles else None
        if item is None:
            return {"tensors": []}, ()
        tensors, matrix, triangle = item
        values = {"tensors": tensors, "matrix": matrix, "count": triangle.count, "columns": triangle.columns}
        return values, triangle.panels()

    def end_collection(self) -> Answer:
        self._collection = None
        return {}, ()

    def logits(self, chunk: Array, first: int) -> Answer:
        self.engine.check(chunk)
        parts = [rows.copy() for _, rows in self.engine.logits(chunk, first)]
        return {}, [np.concatenate(parts)]

    def likelihoods(self, chunk: Array, first: int) -> Answer:
        self.engine.check(chunk)
        parts = [
            self._scorer.likelihoods(rows, chunk[at.start + 1 : at.stop + 1])
            for at, rows in self.engine.logits(chunk, first)
        ]
        return {}, [np.concatenate(parts)]

    def hidden(self, chunk: Array, first: int) -> Answer:
        self.engine.check(chunk)
        observer = HeadObserver(self.engine.runtime.tensors)
        taken = [observer.take(rows) for _, rows in self.engine.logits(chunk, first, observer)]
        return {"plain": all(plain for _, plain in taken)}, [np.concatenate([states for states, _ in taken])]

    def head(self) -> Answer:
        tensors = self.engine.weights.tensors()
        name = next((name for name in OUTPUTS if name in tensors), None)
        if name is None:
            raise UsageError("has no output matrix", file=self.engine.model.path)
        return {"type": tensors[name].type, "shape": tensors[name].shape}, [self.engine.weights.read(name)]

    def use_head(self, data: Array, type: str, shape: list[int]) -> Answer:
        self._drop_head()
        rows, columns = shape
        library, tensors = self.engine.runtime.library, self.engine.runtime.tensors
        self._head = HeadProduct(library, tensors, Head(type, (rows, columns), data), self._threads)
        return {}, ()

    def _drop_head(self) -> None:
        if self._head is not None:
            self._head.close()
            self._head = None

    def keep(self, chunk: Array, key: int, first: int) -> Answer:
        """Keeps a chunk's logits as the base of later ones."""
        _, (logits,) = self.logits(chunk, first)
        self._kept[key] = logits
        return {}, ()

    def forget(self, keys: list[int]) -> Answer:
        for key in keys:
            self._kept.pop(key, None)
        return {}, ()

    def divergence(self, chunk: Array, *base: Array, first: int, key: int | None, states: bool) -> Answer:
        """Compares with what was kept, or with logits or hidden states that come with the request."""
        self.engine.check(chunk)
        if key is not None:
            if key not in self._kept:
                raise UsageError("the base is not kept any more")
            logits = self._kept[key]
        elif not states:
            (logits,) = base
        elif self._head is None:
            raise UsageError("hidden states need the head they belong to")
        else:
            logits = self._head.logits(base[0])
        shape = (len(chunk) - 1 - first, self.engine.info.vocabulary)
        if logits.shape != shape:
            raise UsageError(f"the base has logits of {logits.shape} for a chunk that has {shape}")
        parts = [
            self._scorer.divergence(logits[at.start - first : at.stop - first], rows, chunk[at.start + 1 : at.stop + 1])
            for at, rows in self.engine.logits(chunk, first)
        ]
        d = joined(parts)
        return {}, [d.kl, d.nll, d.base_nll, d.same_top]

    def read(self, name: str) -> Answer:
        return {}, [self.engine.weights.read(name)]

    def replace(self, rows: Array, name: str, first: int) -> Answer:
        self.engine.weights.replace(name, first, rows)
        return {}, ()

    def restore(self, name: str) -> Answer:
        self.engine.weights.restore(name)
        return {}, ()

    def close(self) -> None:
        self._drop_head()
        self._pool.shutdown()
        if self._engine is not None:
            self._engine.close()
        if self._runtime is not None:
            self._runtime.close()


def serve(requests: RawIOBase, answers: RawIOBase, threads: int) -> None:
    """Answers requests until their writer has gone."""
    worker = Worker(threads)
    try:
        while True:
            message, arrays = receive(requests)
            method = cast(Callable[..., Answer], getattr(worker, message.name))
            try:
                values, results = method(*arrays, **message.values)
            except QconvError as e:
                send(answers, "error", error_values(e))
            except MemoryError:
                hint = "a shorter context, or fewer tensors at once, takes less"
                send(answers, "error", error_values(LlamaCppError("out of memory", hint=hint)))
            except Exception as e:
                traceback.print_exc()
                what = f"a defect in qconv's runtime: {type(e).__name__}: {e}"
                send(answers, "error", error_values(QconvError(what, hint="please report it")))
            else:
                send(answers, "ok", values, results)
    except (EOFError, BrokenPipeError):
        pass
    finally:
        worker.close()


def _follow() -> None:
    """Ends this process when its parent has gone, whatever it is computing."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.2)
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def main(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    threading.Thread(target=_follow, daemon=True).start()
    serve(cast(RawIOBase, os.fdopen(0, "rb", buffering=0)), cast(RawIOBase, answers), threads)


if __name__ == "__main__":
    main(int(sys.argv[1]))
