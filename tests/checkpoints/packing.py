"""Safetensors files packed by hand, so that no byte a test expects comes from qconv.  BF16 is uint16 here."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

NAMES = {"f2": "F16", "f4": "F32", "f8": "F64", "i1": "I8", "i2": "I16", "i4": "I32", "i8": "I64"}
NAMES |= {"u1": "U8", "u2": "BF16", "u4": "U32", "b1": "BOOL"}


def file(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A file with any header, a JSON value or bytes; ``length`` may lie."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensors(arrays: Mapping[str, Any], dtypes: Mapping[str, str] | None = None, framework: str | None = "pt") -> bytes:
    """A file of numpy arrays, in that order; ``dtypes`` names those whose type numpy lacks."""
    header: dict[str, Any] = {} if framework is None else {"__metadata__": {"format": framework}}
    data = b""
    for name, array in arrays.items():
        dtype = (dtypes or {}).get(name) or NAMES[array.dtype.str[1:]]
        place = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": place}
        data += array.tobytes()
    return file(header, data)


def save(
    path: Path, arrays: Mapping[str, Any], dtypes: Mapping[str, str] | None = None, framework: str | None = "pt"
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tensors(arrays, dtypes, framework))
    return path


def load(path: Path) -> dict[str, Any]:
    """The tensors of a file, in its order."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    records = {n: r for n, r in json.loads(data[8:start]).items() if n != "__metadata__"}
    kinds = {dtype: kind for kind, dtype in NAMES.items()}
    return {
        name: np.frombuffer(data[start + r["data_offsets"][0] : start + r["data_offsets"][1]], f"<{kinds[r['dtype']]}")
        .reshape(r["shape"])
        .copy()
        for name, r in records.items()
    }


def numbers(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def index(path: Path, weight_map: Mapping[str, Any]) -> Path:
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")
    return path
