"""The weights a model computes with: where they are in memory, and putting others in their place."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qconv.errors import LlamaCppError, UsageError, WeightError
from qconv.formats import block_types
from qconv.runtime.library import Library
from qconv.runtime.observe import Node
from qconv.runtime.results import MatrixInput, WeightTensor
from qconv.runtime.tensor import Tensors

_WEIGHTS = 1
"""``GGML_BACKEND_BUFFER_USAGE_WEIGHTS``."""
_SOURCES = 10


class Census:
    """Learns of a model's weights from the nodes of its graph.

    ``addresses``: of every weight tensor some node reads.  ``tables``: those in which rows are looked up.
    """

    def __init__(self, library: Library, tensors: Tensors) -> None:
        self._library = library
        self._tensors = tensors
        self.addresses: dict[str, int] = {}
        self.tables: list[str] = []
        self._inputs: dict[tuple[int, int], list[tuple[str, int, int]]] = {}

    def witness(self, node: int) -> None:
        for index in range(_SOURCES):
            source = self._tensors.source(node, index)
            if source:
                root = self._tensors.root(source)
                if self._is_weight(root):
                    self.addresses[self._tensors.name(root)] = root
        op = self._tensors.op(node)
        if op in (self._tensors.mul_mat, self._tensors.mul_mat_id):
            product = Node(self._tensors, node, op)
            if self._is_weight(self._tensors.root(product.weights)):
                d3, d2 = self._tensors.shape(product.weights)[:2]
                reader = (product.name, product.columns, d3 * d2)
                readers = self._inputs.setdefault((product.inputs, product.ids), [])
                if reader not in readers:
                    readers.append(reader)
        elif op == self._tensors.get_rows:
            table = self._tensors.root(self._tensors.source(node, 0))
            name = self._tensors.name(table)
            if self._is_weight(table) and name not in self.tables:
                self.tables.append(name)

    def _is_weight(self, tensor: int) -> bool:
        buffer = self._tensors.buffer(tensor)
        return bool(buffer) and self._library.ggml_backend_buffer_get_usage(buffer) == _WEIGHTS

    def inputs(self) -> list[MatrixInput]:
        return [MatrixInput(tuple(name for name, _, _ in r), r[0][1], r[0][2]) for r in self._inputs.values()]


class Weights:
    """A model's weight tensors by name, for reading, replacing and restoring."""

    def __init__(self, library: Library, tensors: Tensors, addresses: dict[str, int], writable: bool) -> None:
        self._library = library
        self._tensors = tensors
        self._addresses = addresses
        self._writable = writable
        self._originals: dict[str, list[tuple[int, NDArray[np.uint8]]]] = {}

    def tensors(self) -> dict[str, WeightTensor]:
        return {name: WeightTensor(self._tensors.type(at), self._shape(at)) for name, at in self._addresses.items()}

    def _shape(self, address: int) -> tuple[int, ...]:
        shape: tuple[int, ...] = self._tensors.shape(address)
        while len(shape) > 1 and shape[0] == 1:
            shape = shape[1:]
        return shape

    def _address(self, name: str) -> int:
        if name not in self._addresses:
            raise UsageError("is not a weight tensor that the model computes with", tensor=name)
        return self._addresses[name]

    def read(self, name: str) -> NDArray[np.uint8]:
        """A tensor's bytes, in its storage type."""
        address = self._address(name)
        data = np.empty(self._library.ggml_nbytes(address), np.uint8)
        self._library.ggml_backend_tensor_get(address, data.ctypes.data, 0, data.size)
        return data

    def replace(self, name: str, first: int, rows: NDArray[np.float32]) -> None:
        """Puts float32 rows ``(n, columns)`` in the place of those from ``first`` on, encoded as the tensor's type."""
        address = self._address(name)
        type_name, shape = self._tensors.type(address), self._shape(address)
        columns, total = shape[-1], math.prod(shape[:-1])
        self._check(name, address, type_name)
        if rows.ndim != 2 or rows.shape[1] != columns or not 0 <= first <= first + len(rows) <= total:
            where = f"rows {first} to {first + len(rows)} of {rows.shape[-1]}"
            raise UsageError(f"has {total} rows of {columns}; {where} do not fit it", tensor=name)
        if not np.isfinite(rows).all():
            raise WeightError("cannot be replaced by NaN or infinity", tensor=name)
        number = block_types()[type_name].id
        row_bytes = self._library.ggml_row_size(number, columns)
        encoded = np.empty(len(rows) * row_bytes, np.uint8)
        rows = np.ascontiguousarray(rows, np.float32)
        self._library.ggml_quantize_chunk(number, rows.ctypes.data, encoded.ctypes.data, 0, len(rows), columns, None)
        original = np.empty_like(encoded)
        offset = first * row_bytes
        self._library.ggml_backend_tensor_get(address, original.ctypes.data, offset, original.size)
        self._originals.setdefault(name, []).append((offset, original))
        self._library.ggml_backend_tensor_set(address, encoded.ctypes.data, offset, encoded.size)

    def restore(self, name: str) -> None:
        """Undoes what was replaced in a tensor, the last first."""
        address = self._address(name)
        for offset, original in reversed(self._originals.pop(name, [])):
            self._library.ggml_backend_tensor_set(address, original.ctypes.data, offset, original.size)

    def _check(self, name: str, address: int, type_name: str) -> None:
        if type_name not in block_types():
            raise UsageError(f"has ggml's type {type_name}, which qconv does not know", tensor=name)
        if not self._writable:
            raise UsageError("cannot be replaced in a session that is not writable", tensor=name)
        kind = self._tensors.buffer_type(address)
        if "repack" in kind.lower() or "mapped" in kind.lower() or "amx" in kind.lower():
            raise LlamaCppError(f"cannot be replaced where llama.cpp keeps it ({kind})", tensor=name)
        if self._library.ggml_quantize_requires_imatrix(block_types()[type_name].id):
            raise UsageError(f"{type_name} needs an importance matrix to be encoded: take another base", tensor=name)
