"""A model and its context in this process: what the child process keeps between requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qconv.errors import UsageError
from qconv.runtime.context import Context
from qconv.runtime.library import Library
from qconv.runtime.log import Log
from qconv.runtime.model import Model
from qconv.runtime.observe import Observation, Observer
from qconv.runtime.tensor import Tensors
from qconv.runtime.weights import Census, Weights

_PROBE = 16
"""Tokens that show what a model's graph holds: llama-imatrix's least."""


class Runtime:
    """A library, proven as far as can be without a model."""

    def __init__(self, path: Path) -> None:
        self.library = Library(path)
        self.log = Log(self.library)
        self.tensors = Tensors(self.library)

    def close(self) -> None:
        self.log.close()


class Engine:
    """Runs one model; ``close`` frees it."""

    def __init__(
        self,
        runtime: Runtime,
        path: Path,
        *,
        context: int,
        batch: int,
        threads: int,
        writable: bool,
        gpu_layers: int,
    ) -> None:
        self.runtime = runtime
        self._observation = Observation(runtime.tensors)
        self.model = Model(runtime.library, runtime.log, path, writable=writable, gpu_layers=gpu_layers)
        self.info = self.model.info()
        try:
            self.context = Context(
                runtime.library,
                runtime.log,
                self.model,
                self._observation,
                context=context,
                batch=batch,
                threads=threads,
            )
        except BaseException:
            self.model.close()
            raise
        self._census: Census | None = None
        self._weights: Weights | None = None

    def check(self, tokens: NDArray[np.int32]) -> None:
        """Raises ``UsageError`` for tokens that the vocabulary has not, which llama.cpp might read past its end."""
        if tokens.size and not 0 <= int(tokens.min()) <= int(tokens.max()) < self.info.vocabulary:
            raise UsageError(f"tokens must be from 0 to {self.info.vocabulary - 1}", file=self.model.path)

    def observe(self, chunks: NDArray[np.int32], *observers: Observer) -> None:
        """Computes chunks ``(n, context)`` with these observers."""
        self._observation.observers = observers
        try:
            step = self.context.sequences
            for start in range(0, len(chunks), step):
                self.context.run(chunks[start : start + step])
        finally:
            self._observation.observers = ()

    def logits(
        self, chunk: NDArray[np.int32], first: int, *observers: Observer
    ) -> Iterator[tuple[range, NDArray[np.float32]]]:
        """``Context.logits`` of a chunk with these observers."""
        self._observation.observers = observers
        try:
            yield from self.context.logits(chunk, first)
        finally:
            self._observation.observers = ()

    @property
    def census(self) -> Census:
        """What the model's graph holds, from computing a few tokens when it is first asked for."""
        if self._census is None:
            census = Census(self.runtime.library, self.runtime.tensors)
            self._observation.witness = census.witness
            try:
                self.context.probe(min(_PROBE, self.context.batch))
            finally:
                self._observation.witness = None
            self._census = census
        return self._census

    @property
    def weights(self) -> Weights:
        if self._weights is None:
            addresses = self.census.addresses
            self._weights = Weights(self.runtime.library, self.runtime.tensors, addresses, self.model.writable)
        return self._weights

    def close(self) -> None:
        self.context.close()
        self.model.close()
