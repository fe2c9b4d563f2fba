"""Tiny checkpoints made from a golden file alone: the same bytes on every machine, whatever they are needed for.

A golden file holds a ``config.json``, the names, types and shapes of a checkpoint's tensors, and what llama.cpp's
converter made of them.  Weights follow from each tensor's name.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

VOCABULARY = 288
"""Tokens of every tiny model: a multiple of 32 but not of 256."""

_VOCABULARY = {"model": {"type": "WordPiece", "vocab": {f"t{i}": i for i in range(VOCABULARY)}}, "added_tokens": []}
"""As much of a tokenizer.json as some architectures count tokens in."""

_WIDTHS = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8", "I32": "<i4"}

_FEWEST_EXPERTS = 4
"""Experts of every model whose tables choose them."""

_BYTES = {"U8": (0, 256), "I8": (0, 256), "F8_E4M3": (0, 127), "F8_E8M0": (110, 130), "BOOL": (0, 2)}


def weights(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    """The bytes of a tensor: normal numbers seeded by its name, integers that count, bytes without FP8's NaN.

    Variances are not negative.
    """
    count = math.prod(shape)
    if dtype in ("I64", "I32"):
        numbers = np.arange(count, dtype=_WIDTHS[dtype])
        if name.endswith(".tid2eid"):
            numbers %= _FEWEST_EXPERTS
        elif name.endswith("_vocab_sizes"):
            numbers += 1
        return numbers.tobytes()
    random = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if dtype in _BYTES:
        low, high = (110, 130) if name.endswith("_scales") else _BYTES[dtype]
        return random.integers(low, high, count, np.uint8).tobytes()
    values = (random.standard_normal(count, np.float32) * np.float32(0.25)).astype("<f4")
    if name.endswith("running_var"):
        values = np.abs(values)
    if dtype == "BF16":
        return (values.view("<u4") >> 16).astype("<u2").tobytes()
    return values.astype(_WIDTHS[dtype]).tobytes()


def write(directory: Path, config: Mapping[str, Any], tensors: Mapping[str, tuple[str, list[int]]]) -> None:
    """``config.json`` and ``model.safetensors`` in ``directory``; ``tensors``: storage type and shape by name."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config), "utf-8")
    (directory / "tokenizer.json").write_text(json.dumps(_VOCABULARY), "utf-8")
    save(
        directory,
        {name: (dtype, shape, weights(name, dtype, tuple(shape))) for name, (dtype, shape) in tensors.items()},
    )


def save(directory: Path, tensors: Mapping[str, tuple[str, list[int], bytes]]) -> None:
    """``model.safetensors`` in ``directory``; ``tensors``: storage type, shape and bytes by name."""
    header: dict[str, Any] = {}
    offset = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    whole = len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values())
    (directory / "model.safetensors").write_bytes(whole)
