"""Final hidden states, and logits made of them later.

A model whose logits are the product of its output matrix and the final hidden state, and nothing else, has a plain
head.  Its hidden states stand for its logits, at a fraction of their size.  They are multiplied by ggml again, with
the kernels that the model itself would use, so that the logits are the same.
"""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from qconv.errors import LlamaCppError, UsageError
from qconv.formats import block_types
from qconv.runtime.importance import OUTPUTS
from qconv.runtime.layout import structure
from qconv.runtime.library import Library
from qconv.runtime.observe import Node
from qconv.runtime.results import Head
from qconv.runtime.tensor import Tensors, rows_of

_CPU = 0
"""``GGML_BACKEND_DEVICE_TYPE_CPU``."""


class HeadObserver:
    """Takes the output matrix's inputs of a batch; ``name`` is that matrix's once one was seen."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors
        self._rows: list[NDArray[np.float32]] = []
        self._first: NDArray[np.float32] | None = None
        self.name: str | None = None

    def begin(self) -> None:
        pass

    def wants(self, node: Node) -> bool:
        return not node.ids and node.name in OUTPUTS and node.is_float

    def observe(self, node: Node) -> None:
        self.name = node.name
        self._rows.append(rows_of(node.x).copy())
        if self._first is None and node.x.size:
            self._first = rows_of(node.result)[0].copy()

    def take(self, logits: NDArray[np.float32]) -> tuple[NDArray[np.float32], bool]:
        """The hidden states of the batch that gave these logits, a row for each; and whether the head is plain."""
        states = np.concatenate(self._rows) if self._rows else np.empty((0, 0), np.float32)
        plain = len(states) == len(logits) and self._first is not None and np.array_equal(self._first, logits[0])
        self._rows, self._first = [], None
        return states, plain


class HeadProduct:
    """Multiplies hidden states with an output matrix; ``close`` frees its memory."""

    def __init__(self, library: Library, tensors: Tensors, head: Head, threads: int) -> None:
        self._library = library
        self._tensors = tensors
        vocabulary, self._columns = head.shape
        layout = block_types().get(head.type)
        if layout is None or head.data.size != vocabulary * layout.row_bytes(self._columns):
            raise UsageError(f"a head of {head.data.size} bytes is no {head.type} of {head.shape}")
        device = library.ggml_backend_dev_by_type(_CPU)
        self._backend = library.ggml_backend_dev_init(device, None)
        _set_threads(library, device, self._backend, threads)
        self._weights_of = self._init(library.ggml_tensor_overhead())
        self._weights = library.ggml_new_tensor_2d(self._weights_of, layout.id, self._columns, vocabulary)
        self._buffer = library.ggml_backend_alloc_ctx_tensors(self._weights_of, self._backend)
        if not self._buffer:
            raise LlamaCppError(f"no memory for a head of {head.data.size} bytes")
        data = np.ascontiguousarray(head.data)
        library.ggml_backend_tensor_set(self._weights, data.ctypes.data, 0, data.size)

    def _init(self, size: int) -> int:
        init = structure("ggml_init_params")
        return int(self._library.ggml_init(init(mem_size=size, mem_buffer=None, no_alloc=True)))

    def logits(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(n, columns)`` to ``(n, vocabulary)``."""
        lib = self._library
        if states.shape[1] != self._columns:
            raise UsageError(f"hidden states of {states.shape[1]} columns do not fit a head of {self._columns}")
        states = np.ascontiguousarray(states, np.float32)
        of_product = self._init(4 * lib.ggml_tensor_overhead() + lib.ggml_graph_overhead())
        inputs = lib.ggml_new_tensor_2d(of_product, block_types()["F32"].id, *states.shape[::-1])
        product = lib.ggml_mul_mat(of_product, self._weights, inputs)
        graph = lib.ggml_new_graph(of_product)
        lib.ggml_build_forward_expand(graph, product)
        buffer = lib.ggml_backend_alloc_ctx_tensors(of_product, self._backend)
        try:
            lib.ggml_backend_tensor_set(inputs, states.ctypes.data, 0, states.nbytes)
            status = lib.ggml_backend_graph_compute(self._backend, graph)
            if status != 0:
                raise LlamaCppError(f"llama.cpp cannot multiply hidden states: status {status}")
            return rows_of(self._tensors.array(product)).copy()
        finally:
            lib.ggml_backend_buffer_free(buffer)
            lib.ggml_free(of_product)

    def close(self) -> None:
        self._library.ggml_backend_buffer_free(self._buffer)
        self._library.ggml_free(self._weights_of)
        self._library.ggml_backend_free(self._backend)


def _set_threads(library: Library, device: int, backend: int, threads: int) -> None:
    registry = library.ggml_backend_dev_backend_reg(device)
    address = library.ggml_backend_reg_get_proc_address(registry, b"ggml_backend_set_n_threads")
    if address:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)(address)(backend, threads)
