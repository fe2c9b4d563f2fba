"""Tensors in llama.cpp's memory: ``struct ggml_tensor`` read in place, and its data as numpy arrays.

A tensor is known by its address.  Shapes are row-major, as everywhere in qconv; ggml's ``ne`` is the other way round.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.errors import LlamaCppError
from qconv.formats import block_types, block_types_by_id
from qconv.runtime.layout import known, structure
from qconv.runtime.library import Library

_DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "I32": np.dtype(np.int32),
}


class Tensors:
    """Reads the tensors of one library.

    ``mul_mat``, ``mul_mat_id`` and ``get_rows`` are the numbers of these operations, ``none`` that of what no operation
    made: weights and inputs.  Raises ``LlamaCppError`` when the library's tensors are laid out in another way.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._struct = structure("ggml_tensor")
        self._op = self._struct.op.offset
        self._src = self._struct.src.offset
        self._name = self._struct.name.offset
        self._prove()

    def _prove(self) -> None:
        """Makes a few tensors and looks whether every field qconv reads is where it should be."""
        lib = self._library
        init = structure("ggml_init_params")
        with_room = lib.ggml_init(init(mem_size=1 << 20, mem_buffer=None, no_alloc=False))
        try:
            f32, i32 = block_types()["F32"].id, block_types()["I32"].id
            weights = lib.ggml_new_tensor_3d(with_room, f32, 7, 5, 3)
            rows = lib.ggml_new_tensor_3d(with_room, f32, 7, 1, 2)
            ids = lib.ggml_new_tensor_2d(with_room, i32, 2, 2)
            view = lib.ggml_view_1d(with_room, weights, 4, 8)
            lib.ggml_set_name(weights, b"blk.0.weight")
            product = lib.ggml_mul_mat(with_room, lib.ggml_new_tensor_2d(with_room, f32, 7, 5), rows)
            chosen = lib.ggml_mul_mat_id(with_room, weights, rows, ids)
            lookup = lib.ggml_get_rows(
                with_room, lib.ggml_new_tensor_2d(with_room, f32, 7, 5), lib.ggml_new_tensor_1d(with_room, i32, 4)
            )
            self.none, self.mul_mat, self.mul_mat_id, self.get_rows = (
                self.op(t) for t in (weights, product, chosen, lookup)
            )
            ops = [lib.ggml_op_name(op) for op in (self.none, self.mul_mat, self.mul_mat_id, self.get_rows)]
            of_weights, of_view = self._at(weights), self._at(view)
            proven = (
                ops == [b"NONE", b"MUL_MAT", b"MUL_MAT_ID", b"GET_ROWS"]
                and (of_weights.type, self._at(ids).type) == (f32, i32)
                and tuple(of_weights.ne) == (7, 5, 3, 1)
                and tuple(of_weights.nb) == (4, 28, 140, 420)
                and of_weights.data == lib.ggml_get_data(weights)
                and of_weights.buffer is None
                and self.name(weights) == "blk.0.weight"
                and (self.source(chosen, 0), self.source(chosen, 1), self.source(chosen, 2)) == (weights, rows, ids)
                and (of_view.view_src, of_view.view_offs) == (weights, 8)
                and of_view.data == of_weights.data + 8
            )
        finally:
            lib.ggml_free(with_room)
        if not proven:
            raise LlamaCppError("lays out its tensors in a way qconv does not know", file=lib.path, hint=known())

    def _at(self, tensor: int) -> Any:
        return self._struct.from_address(tensor)

    def op(self, tensor: int) -> int:
        return ctypes.c_int32.from_address(tensor + self._op).value

    def source(self, tensor: int, index: int) -> int:
        """The address of an operand, 0 where there is none."""
        return ctypes.c_void_p.from_address(tensor + self._src + 8 * index).value or 0

    def name(self, tensor: int) -> str:
        return ctypes.string_at(tensor + self._name).decode("utf-8", "backslashreplace")

    def type(self, tensor: int) -> str:
        """Its storage type (``qconv.types``); ggml's number where ``formats/blocks.toml`` has no name for it."""
        number = self._at(tensor).type
        block_type = block_types_by_id().get(number)
        return str(number) if block_type is None else block_type.name

    def shape(self, tensor: int) -> tuple[int, int, int, int]:
        """All four dimensions, row-major: the last one is the columns."""
        a, b, c, d = self._at(tensor).ne
        return d, c, b, a

    def columns(self, tensor: int) -> int:
        return int(self._at(tensor).ne[0])

    def rows(self, tensor: int) -> int:
        """The last dimension but one, ``ne[1]``."""
        return int(self._at(tensor).ne[1])

    def root(self, tensor: int) -> int:
        """The tensor whose data it is: itself, or what it is a view of."""
        return self._at(tensor).view_src or tensor

    def buffer(self, tensor: int) -> int:
        """The address of the buffer its data is in, 0 where it has none yet."""
        return self._at(tensor).buffer or 0

    def buffer_type(self, tensor: int) -> str:
        """The name of the kind of memory its data is in."""
        kind = self._library.ggml_backend_buffer_get_type(self.buffer(tensor))
        return bytes(self._library.ggml_backend_buft_name(kind)).decode("utf-8", "replace")

    def array(self, tensor: int) -> NDArray[Any]:
        """The data of an F32, F16 or I32 tensor, with its four dimensions and its strides.

        A view of llama.cpp's memory, good until the callback returns, or a copy where the memory is a device's.
        """
        t = self._at(tensor)
        dtype = _DTYPES[self.type(tensor)]
        size = self._library.ggml_nbytes(tensor)
        if t.buffer and not self._library.ggml_backend_buffer_is_host(t.buffer):
            memory: Any = bytearray(size)
            holder = (ctypes.c_char * size).from_buffer(memory)
            self._library.ggml_backend_tensor_get(tensor, ctypes.addressof(holder), 0, size)
        else:
            memory = (ctypes.c_char * size).from_address(t.data)
        return np.ndarray(self.shape(tensor), dtype, memory, strides=tuple(t.nb)[::-1])


def rows_of(x: NDArray[Any]) -> NDArray[Any]:
    """A tensor's elements as ``(rows, columns)``, without a copy where its strides allow."""
    return x.reshape(-1, x.shape[-1])
