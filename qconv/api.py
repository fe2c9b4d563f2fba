"""qconv in Python: ``qconv.quantize``, ``qconv.dequantize``, ``qconv.open`` (``qconv.convert`` is in its room)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qconv.errors import UsageError

if TYPE_CHECKING:
    from qconv.checkpoints import Checkpoint


def quantize(
    array: ArrayLike, block_type: str, importance: ArrayLike | None = None, *, search: str = "reference"
) -> NDArray[np.uint8]:
    """Weights as blocks: ``(..., columns)`` becomes uint8 ``(..., bytes per row)``, byte for byte what ggml writes.

    ``array``: float32 or float16 (others are converted to float32), or uint16 holding bfloat16 bits.  ``block_type``:
    a name such as ``"Q4_K"``, in any case.  ``importance``: how much the error of each column weighs, ``(columns,)``.
    ``search="thorough"`` looks longer for a smaller error where the type has such a search.

    Raises UsageError when rows are no whole number of blocks or the type is unknown, WeightError (with ``row`` and
    ``column``) for NaN and infinity, UnsupportedError for a type that cannot be encoded.
    """
    from qconv import blocks

    weights = np.asarray(array)
    if weights.ndim == 0:
        raise UsageError("a single number cannot be quantized", hint="an array of one dimension or more can")
    if weights.dtype not in (np.float16, np.uint16):
        weights = weights.astype(np.float32, copy=False)
    important = None if importance is None else np.asarray(importance, np.float32)
    rows = weights.reshape(-1, weights.shape[-1])
    encoded = blocks.encode(block_type.upper(), rows, important, search=search)
    return encoded.reshape(*weights.shape[:-1], encoded.shape[-1])


def dequantize(array: ArrayLike, block_type: str) -> NDArray[np.float32]:
    """Blocks as weights: bytes, uint8 ``(..., bytes per row)`` becomes float32 ``(..., columns)``.

    Raises UsageError when rows are no whole number of blocks or the type is unknown, UnsupportedError for a type that
    cannot be decoded.
    """
    from qconv import blocks

    coded = np.asarray(array)
    if coded.ndim == 0:
        raise UsageError("a single byte cannot be dequantized", hint="an array of one dimension or more can")
    decoded = blocks.decode(block_type.upper(), coded.reshape(-1, coded.shape[-1]))
    return decoded.reshape(*coded.shape[:-1], decoded.shape[-1])


def open(path: str | os.PathLike[str]) -> Checkpoint:
    """A GGUF file, a safetensors file or a checkpoint's directory, its headers read: a context manager.

    ``tensors`` maps names to types and shapes, ``read(name, start, stop)`` gives rows as stored, ``metadata`` are a
    GGUF file's keys and ``config`` a checkpoint's ``config.json``.

    Raises InputError when there is nothing qconv can read, FormatError when it is damaged.
    """
    from qconv import checkpoints

    return checkpoints.open(Path(path))
