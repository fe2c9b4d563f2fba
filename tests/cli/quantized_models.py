"""Llama checkpoints whose projections are quantized, and the plain ones of the same weights.

Layouts are written out here once more, from the same public sources as the readers' but the other way round.  Of those
that llama.cpp's converter reads, ``quantized.json`` holds what it makes (``scripts/record_quantized_files.py``).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from tests.checkpoints import packing
from tests.checkpoints.test_scaled import e4m3
from tests.cli.commands import make_checkpoint

Parts = dict[str, NDArray[Any]]
Quantizer = Callable[[int, int, np.random.Generator], tuple[Parts, NDArray[np.float32]]]
"""Of rows and columns: the stored parts by the endings of their names, and the weight."""
GROUP = 32


def words(codes: NDArray[Any], axis: int, bits: int = 4) -> NDArray[np.int32]:
    """Runs of numbers along an axis that fill a word of 32 bits, the first lowest."""
    turned = np.moveaxis(codes.astype(np.uint32), axis, -1)
    count = 32 // bits
    runs = turned.reshape(*turned.shape[:-1], -1, count) << (bits * np.arange(count, dtype=np.uint32))
    packed = np.bitwise_or.reduce(runs, axis=-1).view(np.int32)
    return np.ascontiguousarray(np.moveaxis(packed, -1, axis))


def grid(rows: int, columns: int, rng: np.random.Generator, bits: int = 4) -> tuple[Any, Any, Any, Any]:
    codes = rng.integers(0, 2**bits, (rows, columns))
    scale = (rng.random((rows, columns // GROUP)) * 0.01 + 0.001).astype(np.float16)
    zero = rng.integers(1, 2**bits, scale.shape)
    weight = (codes - zero.repeat(GROUP, 1)).astype(np.float32) * scale.astype(np.float32).repeat(GROUP, 1)
    return codes, scale, zero, weight


def gptq(
    rows: int, columns: int, rng: np.random.Generator, *, bits: int = 4, less: int = 1, ordered: bool = False
) -> tuple[Parts, NDArray[np.float32]]:
    """``less``: 1 for version 1, whose zero points are stored less one.  ``ordered``: act-order."""
    codes, scale, zero, _ = grid(rows, columns, rng, bits)
    order = (np.arange(columns) // GROUP).astype(np.int32)
    if ordered:
        order = rng.permutation(order)
    weight = (codes - zero[:, order]).astype(np.float32) * scale[:, order].astype(np.float32)
    parts = {".qweight": words(codes.T, 0, bits), ".qzeros": words(zero.T - less, 1, bits)}
    return parts | {".scales": scale.T, ".g_idx": order}, weight


def symmetric(rows: int, columns: int, rng: np.random.Generator) -> tuple[Parts, NDArray[np.float32]]:
    """GPTQ's with the middle for every zero point."""
    codes, scale, zero, _ = grid(rows, columns, rng)
    weight = (codes - 8).astype(np.float32) * scale.astype(np.float32).repeat(GROUP, 1)
    return {".qweight": words(codes.T, 0), ".qzeros": words(zero.T * 0 + 7, 1), ".scales": scale.T}, weight


def awq(rows: int, columns: int, rng: np.random.Generator) -> tuple[Parts, NDArray[np.float32]]:
    codes, scale, zero, weight = grid(rows, columns, rng)
    order = np.arange(rows).reshape(-1, 8)[:, [0, 2, 4, 6, 1, 3, 5, 7]].reshape(-1)
    return {".qweight": words(codes.T[:, order], 1), ".qzeros": words(zero.T[:, order], 1), ".scales": scale.T}, weight


def compressed(rows: int, columns: int, rng: np.random.Generator) -> tuple[Parts, NDArray[np.float32]]:
    codes, scale, zero, weight = grid(rows, columns, rng)
    shape = np.array([rows, columns])
    parts = {".weight_packed": words(codes, 1), ".weight_zero_point": words(zero, 0)}
    return parts | {".weight_scale": scale, ".weight_shape": shape}, weight


def mlx(rows: int, columns: int, rng: np.random.Generator) -> tuple[Parts, NDArray[np.float32]]:
    codes, scale, _, _ = grid(rows, columns, rng)
    bias = (rng.random(scale.shape) * 0.01).astype(np.float16)
    each = [part.astype(np.float32).repeat(GROUP, 1) for part in (scale, bias)]
    weight = codes.astype(np.float32) * each[0] + each[1]
    return {".weight": words(codes, 1).view(np.uint32), ".scales": scale, ".biases": bias}, weight


def bitsandbytes(rows: int, columns: int, rng: np.random.Generator) -> tuple[Parts, NDArray[np.float32]]:
    codes = rng.integers(0, 16, rows * columns)
    table = np.linspace(-1, 1, 16, dtype=np.float32)
    absmax = rng.random(rows * columns // 64, np.float32)
    state = json.dumps({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [rows, columns]})
    parts: Parts = {
        ".weight": (codes[::2] << 4 | codes[1::2]).astype(np.uint8).reshape(-1, 1),
        ".weight.absmax": absmax,
        ".weight.quant_map": table,
        ".weight.quant_state.bitsandbytes__nf4": np.frombuffer(state.encode(), np.uint8),
    }
    weight: NDArray[np.float32] = table[codes] * absmax.repeat(64)
    return parts, weight.reshape(rows, columns)


def nvfp4(rows: int, columns: int, rng: np.random.Generator) -> tuple[Parts, NDArray[np.float32]]:
    """ModelOpt's: E2M1 codes, the even column in the lower half of a byte, E4M3 scales of 16, one number for all."""
    codes = rng.integers(0, 16, (rows, columns))
    scale = rng.integers(0x30, 0x40, (rows, columns // 16)).astype(np.uint8)  # 0.5 to 1.875
    second = np.array(0.02, np.float32)
    values = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
    factors = np.array([e4m3(code) for code in range(256)], np.float32)[scale] * second
    packed = (codes[:, ::2] | codes[:, 1::2] << 4).astype(np.uint8)
    parts: Parts = {".weight": packed, ".weight_scale": scale, ".weight_scale_2": second}
    weight: NDArray[np.float32] = values[codes] * factors.repeat(16, 1)
    return parts, weight


def symmetric_packed(rows: int, columns: int, rng: np.random.Generator) -> tuple[Parts, NDArray[np.float32]]:
    codes, scale, _, _ = grid(rows, columns, rng)
    weight = (codes - 8).astype(np.float32) * scale.astype(np.float32).repeat(GROUP, 1)
    return {
        ".weight_packed": words(codes, 1),
        ".weight_scale": scale,
        ".weight_shape": np.array([rows, columns]),
    }, weight


def scaled_bytes(
    rows: int, columns: int, rng: np.random.Generator, *, end: str, floats: bool, block: tuple[int, int]
) -> tuple[Parts, NDArray[np.float32]]:
    """8-bit floats or integers, and scales ``.weight`` + ``end`` of blocks."""
    codes = rng.integers(0, 0x7F, (rows, columns)).astype(np.uint8) | (rng.integers(0, 2, (rows, columns)) << 7).astype(
        np.uint8
    )
    values = np.array([e4m3(code) for code in range(256)], np.float32)[codes] if floats else codes.view(np.int8)
    scale = (rng.random((-(-rows // block[0]), -(-columns // block[1]))) * 0.01 + 0.001).astype(np.float32)
    each = scale.repeat(block[0], 0)[:rows].repeat(block[1], 1)[:, :columns]
    parts: Parts = {".weight": codes if floats else codes.view(np.int8), f".weight{end}": scale}
    return parts, values.astype(np.float32) * each


def bitnet(rows: int, columns: int, rng: np.random.Generator, *, over: bool) -> tuple[Parts, NDArray[np.float32]]:
    """Row ``i * rows / 4 + r`` in bits ``2 i`` of row ``r``; ``over``: the scale divides."""
    numbers = rng.integers(-1, 2, (4, rows // 4, columns))
    packed = np.bitwise_or.reduce((numbers + 1).astype(np.uint8) << (2 * np.arange(4, dtype=np.uint8))[:, None, None])
    scale = np.array([0.3], np.float32)
    ternary = numbers.reshape(rows, columns).astype(np.float32)
    return {".weight": packed, ".weight_scale": scale}, ternary / scale if over else ternary * scale


GPTQ: dict[str, Any] = {"quant_method": "gptq", "bits": 4, "group_size": GROUP}
CHANNEL = {"num_bits": 8, "strategy": "channel"}
PACKED: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": GROUP}}},
}
CASES: dict[str, tuple[Quantizer, dict[str, Any]]] = {
    "gptq": (gptq, GPTQ),
    "symmetric": (symmetric, GPTQ),
    "awq": (awq, {"quant_method": "awq", "bits": 4, "group_size": GROUP}),
    "compressed-tensors": (compressed, PACKED),
    "mlx": (mlx, {"bits": 4, "group_size": GROUP}),
    "nvfp4": (nvfp4, {"quant_method": "modelopt", "quant_algo": "NVFP4"}),
    "bitsandbytes": (bitsandbytes, {"quant_method": "bitsandbytes", "load_in_4bit": True}),
    "gptq-v2": (partial(gptq, less=0), GPTQ | {"checkpoint_format": "gptq_v2"}),
    "gptq-2": (partial(gptq, bits=2), GPTQ | {"bits": 2}),
    "gptq-8": (partial(gptq, bits=8), GPTQ | {"bits": 8}),
    "gptq-ordered": (partial(gptq, ordered=True), GPTQ | {"desc_act": True}),
    "packed": (symmetric_packed, PACKED),
    "float8-channel": (
        partial(scaled_bytes, end="_scale", floats=True, block=(1, 1 << 20)),
        PACKED | {"format": "float-quantized", "config_groups": {"group_0": {"weights": CHANNEL | {"type": "float"}}}},
    ),
    "int8-channel": (
        partial(scaled_bytes, end="_scale", floats=False, block=(1, 1 << 20)),
        PACKED | {"format": "int-quantized", "config_groups": {"group_0": {"weights": CHANNEL | {"type": "int"}}}},
    ),
    "fp8": (
        partial(scaled_bytes, end="_scale_inv", floats=True, block=(128, 128)),
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
    ),
    "bitnet": (partial(bitnet, over=True), {"quant_method": "bitnet"}),
    "bitnet-auto": (
        partial(bitnet, over=False),
        {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"},
    ),
}


def quantized(tmp_path: Path, name: str) -> tuple[Path, Path]:
    """A checkpoint whose projections are quantized, and the plain one of the same weights."""
    quantize, settings = CASES[name]
    source = make_checkpoint(tmp_path / "source", "--layers", "1", "--ffn", "512", "--dtype", "f32")
    with safe_open(source / "model.safetensors", "numpy") as file:
        weights = {each: file.get_tensor(each) for each in file.keys()}  # noqa: SIM118  # it is not a dictionary
    rng = np.random.default_rng(1)
    stored: Parts = {}
    plain: Parts = {}
    for each, weight in weights.items():
        if not each.endswith("proj.weight"):
            stored[each] = plain[each] = weight
            continue
        parts, plain[each] = quantize(weight.shape[0], weight.shape[1], rng)
        stored |= {each.removesuffix(".weight") + end: np.ascontiguousarray(part) for end, part in parts.items()}
    folders = tmp_path / "stored" / "Noise", tmp_path / "plain" / "Noise"
    for folder, arrays in zip(folders, (stored, plain), strict=True):
        shutil.copytree(source, folder)
        eight = settings.get("quant_method") == "fp8" or settings.get("format") == "float-quantized"
        ends = (".weight_scale", ".weight") if eight else ".weight_scale"
        floats = {each: "F8_E4M3" for each in arrays if each.endswith(ends) and arrays[each].dtype == np.uint8}
        packing.save(folder / "model.safetensors", arrays, floats)
    config = json.loads((source / "config.json").read_text())
    (folders[0] / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))
    return folders
