"""Chunks of tokens through a model, in the batches in which llama-imatrix and llama-perplexity send them.

A text is cut into chunks of ``context`` tokens, each a sequence of its own whose first token is replaced by the
beginning-of-sequence token when the model asks for one.  A batch holds ``batch`` tokens: as many whole chunks as fit,
or a part of one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qconv.errors import LlamaCppError, UnsupportedError
from qconv.runtime.layout import structure
from qconv.runtime.library import Library
from qconv.runtime.log import Log
from qconv.runtime.model import Model
from qconv.runtime.observe import Observation

UBATCH: Final = 512
"""Tokens computed at once, llama.cpp's default; how a batch is divided decides the order of sums over tokens."""


class Context:
    """State of a model for sequences of ``context`` tokens; ``close`` frees it.

    ``sequences``: how many chunks are computed side by side at most.
    """

    def __init__(
        self,
        library: Library,
        log: Log,
        model: Model,
        observation: Observation,
        *,
        context: int,
        batch: int,
        threads: int,
    ) -> None:
        self._library = library
        self._log = log
        self._model = model
        self._observation = observation
        self.context = context
        self.sequences = max(1, batch // context)
        self.batch = min(batch, self.sequences * context)
        self._info = model.info()
        params = {
            "n_ctx": self.sequences * context,
            "n_batch": self.batch,
            "n_ubatch": min(UBATCH, self.batch),
            "n_seq_max": self.sequences,
            "n_threads": threads,
            "n_threads_batch": threads,
            "swa_full": False,
            "cb_eval": observation.address,
        }
        log.forget()
        self.address = library.llama_init_from_model(model.address, library.context_params(params))
        if not self.address:
            raise LlamaCppError(f"llama.cpp makes no context of {context} tokens: {log.errors()}", file=model.path)
        if not library.llama_get_memory(self.address) or library.llama_model_has_encoder(model.address):
            raise UnsupportedError("is an encoder, which does not predict the next token", file=model.path)

    def run(self, chunks: NDArray[np.int32]) -> None:
        """Computes chunks ``(at most sequences, context)`` with an output for every token, for observers alone."""
        everything = np.ones(self.context, np.int8)
        for _ in self._batches(chunks, everything):
            self._library.llama_synchronize(self.address)

    def probe(self, count: int) -> None:
        """Computes ``count`` tokens, an output for each, so that the graph is shown to observers."""
        self._library.llama_memory_clear(self._library.llama_get_memory(self.address), True)
        self._decode(np.zeros((1, count), np.int32), 0, np.ones(count, np.int8))
        self._library.llama_synchronize(self.address)

    def logits(self, chunk: NDArray[np.int32], first: int) -> Iterator[tuple[range, NDArray[np.float32]]]:
        """Computes one chunk ``(context,)``; its positions from ``first`` on, but the last, and their logits.

        Batch by batch: the positions, and float32 ``(positions, vocabulary)``, a view that is good until the next.
        The last position is left out since no token follows it.
        """
        scored = np.zeros(self.context, np.int8)
        scored[first:-1] = 1
        for start, count in self._batches(chunk[None], scored):
            rows = np.flatnonzero(scored[start : start + count]) + start
            if not len(rows):
                continue
            shape = (len(rows), self._info.vocabulary)
            size = shape[0] * shape[1]
            # waits until all is computed
            address = self._library.llama_get_logits(self.address)
            memory: Any = (ctypes.c_float * size).from_address(address)
            view = np.ndarray(shape, np.float32, memory)
            yield range(int(rows[0]), int(rows[-1]) + 1), view

    def with_bos(self, chunks: NDArray[np.int32]) -> NDArray[np.int32]:
        """Chunks ``(n, context)`` as the model sees them."""
        tokens = chunks.copy()
        if self._info.bos >= 0:
            tokens[:, 0] = self._info.bos
        return tokens

    def _batches(self, chunks: NDArray[np.int32], outputs: NDArray[np.int8]) -> Iterator[tuple[int, int]]:
        """Sends chunks in batches; after each, where in the chunks it began and how many tokens of each it held."""
        tokens = self.with_bos(chunks)
        self._library.llama_memory_clear(self._library.llama_get_memory(self.address), True)
        for start in range(0, self.context, self.batch):
            stop = min(start + self.batch, self.context)
            self._decode(tokens[:, start:stop], start, outputs[start:stop])
            yield start, stop - start

    def _decode(self, tokens: NDArray[np.int32], position: int, outputs: NDArray[np.int8]) -> None:
        """One batch: tokens ``(sequences, n)`` whose positions begin at ``position``."""
        sequences, n = tokens.shape
        flat = np.ascontiguousarray(tokens).reshape(-1)
        positions = np.tile(np.arange(position, position + n, dtype=np.int32), sequences)
        ones = np.ones(flat.size, np.int32)
        sequence = np.repeat(np.arange(sequences, dtype=np.int32), n)
        pointers = sequence.ctypes.data + 4 * np.arange(flat.size, dtype=np.uint64)
        wanted = np.tile(outputs, sequences)
        batch = structure("batch")(
            n_tokens=flat.size,
            token=flat.ctypes.data,
            pos=positions.ctypes.data,
            n_seq_id=ones.ctypes.data,
            seq_id=pointers.ctypes.data,
            logits=wanted.ctypes.data,
        )
        self._log.forget()
        self._observation.begin()
        result = self._library.llama_decode(self.address, batch)
        self._observation.finish()
        if result != 0:
            raise LlamaCppError(f"llama.cpp cannot compute it: {self._log.errors() or result}", file=self._model.path)

    def close(self) -> None:
        self._library.llama_free(self.address)
