"""Tries a library with a small model before it is trusted with another.

Layouts found by their defaults could still be wrong: a field moved among equals, or a meaning changed.  So every part
that qconv builds on is used once, and its outcome compared with what follows from the model's weights.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qconv.errors import LlamaCppError
from qconv.runtime.engine import Engine, Runtime
from qconv.runtime.layout import known
from qconv.runtime.observe import Node
from qconv.runtime.tiny import EPSILON, VOCABULARY, tiny_weights, write_tiny

_CONTEXT: Final = 256
_SEQUENCES: Final = 3
_OUTPUT: Final = "output.weight"
_QUERY: Final = "blk.0.attn_q.weight"


class _Recorder:
    """Keeps the last inputs of the first layer's queries and of the output matrix."""

    def __init__(self) -> None:
        self.inputs: dict[str, NDArray[np.float32]] = {}

    def begin(self) -> None:
        pass

    def wants(self, node: Node) -> bool:
        return node.name in (_QUERY, _OUTPUT)

    def observe(self, node: Node) -> None:
        self.inputs[node.name] = node.x[0, 0].copy()


def prove(runtime: Runtime) -> None:
    """Raises ``LlamaCppError`` when the library does something else than it should."""
    weights = tiny_weights()
    with tempfile.TemporaryDirectory(prefix="qconv-") as folder:
        path = Path(folder) / "selftest.gguf"
        write_tiny(path, weights)
        batch = _SEQUENCES * _CONTEXT
        engine = Engine(runtime, path, context=_CONTEXT, batch=batch, threads=1, writable=True, gpu_layers=0)
    try:
        failed = _failures(runtime, engine, weights)
    finally:
        engine.close()
    if failed:
        raise LlamaCppError(f"does not behave as it should: {failed}", file=runtime.library.path, hint=known())


def _failures(runtime: Runtime, engine: Engine, weights: dict[str, NDArray[np.float32]]) -> str:
    """What went wrong, or nothing."""
    lib, address = runtime.library, engine.context.address
    sizes = lib.llama_n_ctx(address), lib.llama_n_batch(address), lib.llama_n_seq_max(address)
    if sizes != (_SEQUENCES * _CONTEXT, _SEQUENCES * _CONTEXT, _SEQUENCES):
        return f"a context of other sizes, {sizes}"
    if (lib.llama_n_threads(address), lib.llama_n_threads_batch(address)) != (1, 1):
        return "other numbers of threads"
    chunk = np.arange(_CONTEXT, dtype=np.int32) * 7 % VOCABULARY
    recorder = _Recorder()
    logits = _logits(engine, chunk, recorder)
    if recorder.inputs.keys() != {_QUERY, _OUTPUT}:
        return "products are not seen"
    if not _near(
        recorder.inputs[_QUERY], _normed(weights["token_embd.weight"][chunk], weights["blk.0.attn_norm.weight"])
    ):
        return "the input of the first layer"
    states = recorder.inputs[_OUTPUT]
    if not _near(logits, states @ weights[_OUTPUT].T):
        return "logits"
    other = weights[_OUTPUT][::-1][5:30]
    engine.weights.replace(_OUTPUT, 5, other)
    changed = _logits(engine, chunk, recorder)
    engine.weights.restore(_OUTPUT)
    expected = weights[_OUTPUT].copy()
    expected[5:30] = other
    if not _near(changed, states @ expected.T):
        return "weights replaced"
    if not np.array_equal(_logits(engine, chunk, recorder), logits):
        return "weights restored"
    return ""


def _logits(engine: Engine, chunk: NDArray[np.int32], recorder: _Recorder) -> NDArray[np.float32]:
    # the last position has no logits; its hidden state is not made either
    return np.concatenate([rows.copy() for _, rows in engine.logits(chunk, 0, recorder)])


def _normed(x: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(x / np.sqrt((x * x).mean(1, keepdims=True) + EPSILON) * weight, np.float32)


def _near(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    return actual.shape == expected.shape and bool(np.abs(actual - expected).max() < 1e-3)
