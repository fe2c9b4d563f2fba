"""A checkpoint's projections as other methods store them, with random codes: for how long reading those takes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Part = tuple[str, str, tuple[int, ...]]
"""The ending of a name, storage type, shape."""
_WIDTHS = {"I32": 4, "U32": 4, "F16": 2, "U8": 1, "F8_E4M3": 1, "F32": 4, "I64": 8}


def _gptq(rows: int, columns: int) -> Iterator[Part]:
    yield ".qweight", "I32", (columns // 8, rows)
    yield ".qzeros", "I32", (columns // 128, rows // 8)
    yield ".scales", "F16", (columns // 128, rows)


def _awq(rows: int, columns: int) -> Iterator[Part]:
    yield ".qweight", "I32", (columns, rows // 8)
    yield ".qzeros", "I32", (columns // 128, rows // 8)
    yield ".scales", "F16", (columns // 128, rows)


def _mlx(rows: int, columns: int) -> Iterator[Part]:
    yield ".weight", "U32", (rows, columns // 8)
    yield ".scales", "F16", (rows, columns // 64)
    yield ".biases", "F16", (rows, columns // 64)


def _nvfp4(rows: int, columns: int) -> Iterator[Part]:
    yield ".weight", "U8", (rows, columns // 2)
    yield ".weight_scale", "F8_E4M3", (rows, columns // 16)
    yield ".weight_scale_2", "F32", ()


def _compressed(rows: int, columns: int) -> Iterator[Part]:
    yield ".weight_packed", "I32", (rows, columns // 8)
    yield ".weight_scale", "F16", (rows, columns // 128)
    yield ".weight_shape", "I64", (2,)


METHODS: dict[str, tuple[Callable[[int, int], Iterator[Part]], dict[str, Any]]] = {
    "gptq": (_gptq, {"quant_method": "gptq", "bits": 4, "group_size": 128}),
    "awq": (_awq, {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}),
    "mlx": (_mlx, {"bits": 4, "group_size": 64}),
    "nvfp4": (_nvfp4, {"quant_method": "modelopt", "quant_algo": "NVFP4"}),
    "compressed-tensors": (_compressed, {"quant_method": "compressed-tensors", "format": "pack-quantized"}),
}


def make_quantized(directory: Path, source: Path, method: str) -> Path:
    """``source``, one BF16 file, as ``method`` stores it, unless it is there from an earlier run."""
    if directory.exists():
        return directory
    unfinished = directory.with_suffix(".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(source, unfinished, ignore=shutil.ignore_patterns("*.safetensors", "*.gguf*"))
    parts, settings = METHODS[method]
    config = json.loads((source / "config.json").read_text()) | {"quantization_config": settings}
    (unfinished / "config.json").write_text(json.dumps(config))
    with (source / "model.safetensors").open("rb") as f:
        start = 8 + int.from_bytes(f.read(8), "little")
        stored = json.loads(f.read(start - 8))
    stored.pop("__metadata__", None)
    header: dict[str, Any] = {}
    made: list[tuple[str, str, tuple[int, ...], int | None]] = []
    for name, tensor in stored.items():
        if name.endswith("proj.weight"):
            stem = name.removesuffix(".weight")
            made += [(stem + end, dtype, shape, None) for end, dtype, shape in parts(*tensor["shape"])]
        else:
            made.append((name, tensor["dtype"], tuple(tensor["shape"]), start + tensor["data_offsets"][0]))
    end = 0
    for name, dtype, shape, _ in made:
        size = int(np.prod(shape)) * _WIDTHS.get(dtype, 2)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with (unfinished / "model.safetensors").open("wb") as out, (source / "model.safetensors").open("rb") as f:
        out.write(len(text).to_bytes(8, "little") + text)
        for name, dtype, shape, offset in made:
            if offset is None:
                out.write(_random(dtype, shape, stored, name).tobytes())
                continue
            f.seek(offset)
            out.write(f.read(int(np.prod(shape)) * 2))
    unfinished.rename(directory)
    return directory


def _random(dtype: str, shape: tuple[int, ...], stored: dict[str, Any], name: str) -> NDArray[Any]:
    """Codes of any bits; scales that are numbers."""
    rng = np.random.default_rng(1)
    if dtype == "I64":
        return np.array(stored[name.removesuffix("_shape")]["shape"], np.int64)
    if dtype in ("F16", "F32"):
        return (rng.random(shape, np.float32) * 0.01 + 0.001).astype(np.float16 if dtype == "F16" else np.float32)
    size = int(np.prod(shape)) * _WIDTHS[dtype]
    return rng.integers(0x28, 0x38, size, np.uint8) if dtype == "F8_E4M3" else rng.integers(0, 256, size, np.uint8)
