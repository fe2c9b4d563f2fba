"""A process that loads GGUF files with llama.cpp and computes eight tokens of each: what aborts there ends it alone.

Standard input has a request a line, standard output an answer a line (JSON): ``Request`` and ``Answer``.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any, TypedDict

import numpy as np

from qconv.runtime.layout import structure
from qconv.runtime.library import LOG_CALLBACK, Library, library_path

TOKENS = np.arange(5, 13, dtype=np.int32)
AT_ONCE = 4
"""Tokens of the first batch; each later one has a batch of its own."""
CELLS = 256
_WARNING = 3
_CONTINUED = 5
_MEAN = 1
_MTP = 1


class Request(TypedDict):
    """``pooled``: it gives embeddings of texts.  ``further``: it holds layers for further tokens alone."""

    path: str
    pooled: bool
    further: bool


class Answer(TypedDict):
    """``failed``: the step that did, or nothing.  ``said``: warnings and errors of llama.cpp's log."""

    failed: str
    said: list[str]


class _Warnings:
    """The library's log: all of it goes to standard error, what warns is kept."""

    def __init__(self, library: Library) -> None:
        self._text = ""
        self._level = 0
        self._callback = LOG_CALLBACK(self._take)  # kept: llama.cpp calls it
        library.llama_log_set(ctypes.cast(self._callback, ctypes.c_void_p), None)

    def _take(self, level: int, text: bytes | None, _: int | None) -> None:
        line = (text or b"").decode("utf-8", "replace")
        self._level = self._level if level == _CONTINUED else level
        if self._level >= _WARNING:
            self._text += line
        sys.stderr.write(line)
        sys.stderr.flush()

    def taken(self) -> list[str]:
        lines = [" ".join(line.split()) for line in self._text.splitlines() if line.strip()]
        self._text = ""
        return lines


def _batch(tokens: np.ndarray[Any, Any], position: int) -> tuple[Any, tuple[Any, ...]]:
    """Tokens of one sequence with an output for each, and what must live as long as the batch."""
    count = len(tokens)
    positions = np.arange(position, position + count, dtype=np.int32)
    ones, sequence, outputs = np.ones(count, np.int32), np.zeros(count, np.int32), np.ones(count, np.int8)
    pointers = sequence.ctypes.data + 4 * np.arange(count, dtype=np.uint64)
    batch = structure("batch")(
        n_tokens=count,
        token=tokens.ctypes.data,
        pos=positions.ctypes.data,
        n_seq_id=ones.ctypes.data,
        seq_id=pointers.ctypes.data,
        logits=outputs.ctypes.data,
    )
    return batch, (tokens, positions, ones, sequence, outputs, pointers)


def _compute(library: Library, encode: Any, model: int, context: int) -> str:
    """The step that failed, or nothing."""
    memory = library.llama_get_memory(context)
    if not memory or library.llama_model_has_encoder(model):
        batch, _kept = _batch(TOKENS, 0)
        if encode(context, batch):
            return "encode"
    if memory:
        starts = [0, *range(AT_ONCE, len(TOKENS))]
        for start, stop in zip(starts, [*starts[1:], len(TOKENS)], strict=True):
            batch, _kept = _batch(TOKENS[start:stop], start)
            if library.llama_decode(context, batch):
                return "decode"
    library.llama_synchronize(context)
    return ""


def _run(library: Library, encode: Any, request: Request) -> str:
    no_devices = (ctypes.c_void_p * 1)(None)
    values = {"n_gpu_layers": 0, "devices": ctypes.addressof(no_devices), "load_mtp": True}
    model = library.llama_model_load_from_file(os.fsencode(request["path"]), library.model_params(values))
    if not model:
        return "load"
    params = {"n_ctx": CELLS, "n_batch": 64, "n_ubatch": 64, "n_threads": 1, "n_threads_batch": 1, "swa_full": False}
    if request["pooled"]:
        params |= {"embeddings": True, "pooling_type": _MEAN}
    if request["further"]:
        params["ctx_type"] = _MTP
    context = library.llama_init_from_model(model, library.context_params(params))
    failed = _compute(library, encode, model, context) if context else "context"
    if context:
        library.llama_free(context)
    library.llama_model_free(model)
    return failed


def main() -> None:
    library = Library(library_path())
    encode = ctypes.CDLL(str(library.path)).llama_encode
    encode.argtypes, encode.restype = (ctypes.c_void_p, structure("batch")), ctypes.c_int32
    warnings = _Warnings(library)
    for line in sys.stdin:
        answer: Answer = {"failed": _run(library, encode, json.loads(line)), "said": warnings.taken()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
