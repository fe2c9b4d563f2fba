"""A model loaded from a GGUF file: its vocabulary, and the text of it as tokens."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from qconv.errors import InputError, UsageError
from qconv.runtime.library import Library
from qconv.runtime.log import Log

_LOAD_NONE = 0
"""``LLAMA_LOAD_MODE_NONE``: read into memory of its own, not mapped."""


class ModelInfo(msgspec.Struct, frozen=True):
    """What a loaded model says of itself.

    ``description``: llama.cpp's, as ``llama 1B Q4_K - Medium``.  ``vocabulary``: tokens.  ``columns``: width of the
    embeddings.  ``trained_context``: tokens.  ``bos``: the token that stands in for the first one of every chunk, -1
    when the model asks for none.
    """

    description: str
    vocabulary: int
    columns: int
    layers: int
    trained_context: int
    bos: int


class Model:
    """A GGUF file in memory; ``close`` frees it.

    ``writable``: its weights can be replaced.  They are then read into memory instead of being mapped, and stay in the
    file's layout: repacking for the processor is off.  ``gpu_layers``: how many layers go to a GPU; with 0, all
    computing is the processor's.

    Raises ``InputError`` with llama.cpp's own words when it does not load the file.
    """

    def __init__(self, library: Library, log: Log, path: Path, *, writable: bool, gpu_layers: int) -> None:
        self._library = library
        self.path = path
        self.writable = writable
        values: dict[str, object] = {"n_gpu_layers": gpu_layers}
        no_devices = (ctypes.c_void_p * 1)(None)
        if gpu_layers == 0:
            values["devices"] = ctypes.addressof(no_devices)
        if writable:
            values |= {"use_extra_bufts": False}
            values |= (
                {"load_mode": _LOAD_NONE} if library.has_param("model_params", "load_mode") else {"use_mmap": False}
            )
        log.forget()
        self.address = library.llama_model_load_from_file(os.fsencode(path), library.model_params(values))
        if not self.address:
            raise InputError(f"llama.cpp does not load it: {log.errors() or 'it does not say why'}", file=path)
        self.vocab = library.llama_model_get_vocab(self.address)

    def info(self) -> ModelInfo:
        lib = self._library
        text = ctypes.create_string_buffer(256)
        lib.llama_model_desc(self.address, text, len(text))
        return ModelInfo(
            description=text.value.decode("utf-8", "replace"),
            vocabulary=lib.llama_vocab_n_tokens(self.vocab),
            columns=lib.llama_model_n_embd(self.address),
            layers=lib.llama_model_n_layer(self.address),
            trained_context=lib.llama_model_n_ctx_train(self.address),
            bos=lib.llama_vocab_bos(self.vocab) if lib.llama_vocab_get_add_bos(self.vocab) else -1,
        )

    def tokenize(self, text: bytes, special: bool) -> NDArray[np.int32]:
        """Tokens of UTF-8 text, with those put before and after it that the model asks for.

        ``special``: text that spells a special token (``<|eot_id|>``) becomes that token.
        """
        if self._library.llama_vocab_type(self.vocab) == 0:
            raise UsageError("has no tokenizer: text cannot be made into tokens", file=self.path)
        room = len(text) + 2  # no token is less than a byte; one before, one after
        while True:
            tokens = np.empty(room, np.int32)
            count = self._library.llama_tokenize(self.vocab, text, len(text), tokens.ctypes.data, room, True, special)
            if count >= 0:
                return tokens[:count].copy()
            if -count <= room:
                raise UsageError("the text is too long to be tokenized at once", file=self.path)
            room = -count

    def close(self) -> None:
        self._library.llama_model_free(self.address)
