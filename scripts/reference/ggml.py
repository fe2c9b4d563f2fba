"""ggml's own encoders and decoders, called through ctypes in the library that the ``xllamacpp`` wheel holds.

The wheel (a development dependency) is a release build for plain x86-64; it is opened without being imported.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.formats import BlockType, block_types


class _TypeTraits(ctypes.Structure):
    """``struct ggml_type_traits`` of ggml.h."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
        ("from_float_ref", ctypes.c_void_p),
    )


@cache
def _folder() -> Path:
    found = importlib.util.find_spec("xllamacpp")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("the reference needs the development dependency xllamacpp: pip install xllamacpp")
    return Path(next(iter(found.submodule_search_locations)))


@cache
def _library() -> ctypes.CDLL:
    """ggml, with the types of the functions used here and its own layouts checked against ``formats/blocks.toml``."""
    lib = ctypes.CDLL(str(next(_folder().glob("xllamacpp*.so"))))
    lib.ggml_version.restype = ctypes.c_char_p
    lib.ggml_get_type_traits.restype = ctypes.POINTER(_TypeTraits)
    lib.ggml_get_type_traits.argtypes = (ctypes.c_int,)
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = (
        ctypes.c_int,  # type
        ctypes.c_void_p,  # float32 rows
        ctypes.c_void_p,  # blocks
        ctypes.c_int64,  # first weight
        ctypes.c_int64,  # rows
        ctypes.c_int64,  # weights a row
        ctypes.c_void_p,  # importance or NULL
    )
    for layout in block_types().values():
        traits = lib.ggml_get_type_traits(layout.id).contents
        if (traits.blck_size, traits.type_size) != (layout.weights, layout.bytes):
            raise RuntimeError(f"this ggml's {layout.name} has another layout than formats/blocks.toml")
    return lib


@cache
def build() -> dict[str, str]:
    """Which ggml this is: the wheel's name, version and commit, ggml's version, its compiler."""
    lib = _library()
    found = re.search(r"'''(.*?)'''", (_folder() / "_version.py").read_text(), re.DOTALL)
    wheel: dict[str, Any] = json.loads(found.group(1)) if found else {}
    return {
        "wheel": f"xllamacpp {version('xllamacpp')}",
        "wheel commit": str(wheel.get("full-revisionid", "unknown")),
        "ggml": lib.ggml_version().decode(),
        "compiler": (ctypes.c_char_p.in_dll(lib, "LLAMA_COMPILER").value or b"unknown").decode(),
        "target": (ctypes.c_char_p.in_dll(lib, "LLAMA_BUILD_TARGET").value or b"unknown").decode(),
    }


def encode(
    block_type: str,
    rows: NDArray[np.float32],
    importance: NDArray[np.float32] | None = None,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """``ggml_quantize_chunk``: float32 ``(n, columns)`` as uint8 ``(n, bytes per row)``."""
    layout: BlockType = block_types()[block_type]
    rows = np.ascontiguousarray(rows, np.float32)
    if out is None:
        # zeros: ggml leaves what it does not write, and every type but these writes all of its bytes
        out = np.zeros((len(rows), layout.row_bytes(rows.shape[1])), np.uint8)
    weights = None
    if importance is not None:
        weights = np.ascontiguousarray(importance, np.float32)
        if weights.shape != rows.shape[1:]:
            raise ValueError(f"importance of {weights.shape} for rows of {rows.shape[1]}")
    pointer = None if weights is None else weights.ctypes.data
    _library().ggml_quantize_chunk(layout.id, rows.ctypes.data, out.ctypes.data, 0, *rows.shape, pointer)
    return out


def decode(block_type: str, blocks: NDArray[np.uint8], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """ggml's ``to_float``: uint8 ``(n, bytes per row)`` as float32 ``(n, columns)``."""
    layout: BlockType = block_types()[block_type]
    blocks = np.ascontiguousarray(blocks)
    if out is None:
        out = np.empty((len(blocks), blocks.shape[1] // layout.bytes * layout.weights), np.float32)
    if block_type == "F32":
        np.copyto(out, blocks.view(np.float32))
        return out
    traits = _library().ggml_get_type_traits(layout.id).contents
    traits.to_float(blocks.ctypes.data, out.ctypes.data, out.size)
    return out
