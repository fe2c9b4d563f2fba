"""Quantized checkpoints through the command line: the file that the weights they stand for make, tensor for tensor.

Layouts are written out here once more, from the same public sources as the readers' but the other way round.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, dequantize
from numpy.typing import NDArray
from safetensors import safe_open

from tests.checkpoints import packing
from tests.checkpoints.test_scaled import e4m3
from tests.cli.commands import Run, environment, make_checkpoint
from tests.cli.llama_cpp import complete

Parts = dict[str, NDArray[Any]]
Quantizer = Callable[[int, int, np.random.Generator], tuple[Parts, NDArray[np.float32]]]
"""Of rows and columns: the stored parts by the endings of their names, and the weight."""
GROUP = 32


def words(codes: NDArray[Any], axis: int) -> NDArray[np.int32]:
    """Runs of eight 4-bit numbers along an axis as one word, the first lowest."""
    turned = np.moveaxis(codes.astype(np.uint32), axis, -1)
    eights = turned.reshape(*turned.shape[:-1], -1, 8) << (4 * np.arange(8, dtype=np.uint32))
    packed = np.bitwise_or.reduce(eights, axis=-1).view(np.int32)
    return np.ascontiguousarray(np.moveaxis(packed, -1, axis))


def grid(rows: int, columns: int, rng: np.random.Generator) -> tuple[Any, Any, Any, Any]:
    codes = rng.integers(0, 16, (rows, columns))
    scale = (rng.random((rows, columns // GROUP)) * 0.01 + 0.001).astype(np.float16)
    zero = rng.integers(1, 16, scale.shape)
    weight = (codes - zero.repeat(GROUP, 1)).astype(np.float32) * scale.astype(np.float32).repeat(GROUP, 1)
    return codes, scale, zero, weight


def gptq(rows: int, columns: int, rng: np.random.Generator) -> tuple[Parts, NDArray[np.float32]]:
    codes, scale, zero, weight = grid(rows, columns, rng)
    order = (np.arange(columns) // GROUP).astype(np.int32)
    parts = {".qweight": words(codes.T, 0), ".qzeros": words(zero.T - 1, 1), ".scales": scale.T, ".g_idx": order}
    return parts, weight


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


CASES: dict[str, tuple[Quantizer, dict[str, Any]]] = {
    "gptq": (gptq, {"quant_method": "gptq", "bits": 4, "group_size": GROUP}),
    "symmetric": (symmetric, {"quant_method": "gptq", "bits": 4, "group_size": GROUP}),
    "awq": (awq, {"quant_method": "awq", "bits": 4, "group_size": GROUP}),
    "compressed-tensors": (compressed, {"quant_method": "compressed-tensors", "format": "pack-quantized"}),
    "mlx": (mlx, {"bits": 4, "group_size": GROUP}),
    "nvfp4": (nvfp4, {"quant_method": "modelopt", "quant_algo": "NVFP4"}),
    "bitsandbytes": (bitsandbytes, {"quant_method": "bitsandbytes", "load_in_4bit": True}),
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
        floats = {each: "F8_E4M3" for each in arrays if each.endswith(".weight_scale") and arrays[each].itemsize == 1}
        packing.save(folder / "model.safetensors", arrays, floats)
    config = json.loads((source / "config.json").read_text())
    (folders[0] / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))
    return folders


@pytest.mark.parametrize("name", CASES)
def test_the_file_is_that_of_the_weights(qconv: Run, tmp_path: Path, name: str) -> None:
    made = []
    for folder in quantized(tmp_path, name):
        done = qconv("convert", folder, "--type", "f32", "--output", folder.parent / "out.gguf", "--progress", "none")
        assert done.returncode == 0, done.stderr
        reader = GGUFReader(folder.parent / "out.gguf")
        made.append({tensor.name: (tensor.tensor_type, tensor.data.tobytes()) for tensor in reader.tensors})
    assert len(made[1]) == 12
    assert made[0] == made[1]


@pytest.mark.parametrize(("name", "kind"), [("symmetric", "Q4_0"), ("mlx", "Q4_1"), ("bitsandbytes", "F32")])
def test_kept_weights_are_the_checkpoints(qconv: Run, tmp_path: Path, name: str, kind: str) -> None:
    """Decoded by llama.cpp's own package they are what the plain checkpoint has, to the bit."""
    stored, plain = quantized(tmp_path, name)
    made = []
    for folder, type in ((stored, "keep"), (plain, "f32")):
        done = qconv("convert", folder, "--type", type, "--output", folder.parent / "out.gguf", "--progress", "none")
        assert done.returncode == 0, done.stderr
        reader = GGUFReader(folder.parent / "out.gguf")
        made.append({tensor.name: tensor for tensor in reader.tensors})
    kept, whole = made
    assert {kept[each].tensor_type.name for each in kept if "norm" not in each} == {kind, "F32"}
    for each in whole:
        numbers = dequantize(kept[each].data, kept[each].tensor_type)
        np.testing.assert_array_equal(numbers, whole[each].data)


@pytest.mark.parametrize(("name", "kind"), [("symmetric", "Q4_0"), ("nvfp4", "NVFP4")])
def test_llama_cpp_runs_kept_weights_as_it_runs_the_whole_ones(
    qconv: Run, tmp_path: Path, name: str, kind: str
) -> None:
    """NVFP4's second scales included, which are tensors of their own; activations are rounded to 8 bits on the way."""
    stored, plain = quantized(tmp_path, name)
    likely = []
    for folder, type in ((stored, "keep"), (plain, "f32")):
        file = folder.parent / "out.gguf"
        done = qconv("convert", folder, "--type", type, "--output", file, "--progress", "none")
        assert done.returncode == 0, done.stderr
        likely.append(complete(file, tokens=1, probabilities=5)["logprobs"])
    assert kind in {tensor.tensor_type.name for tensor in GGUFReader(stored.parent / "out.gguf").tensors}
    kept, whole = likely
    shared = kept.keys() & whole.keys()
    assert len(shared) >= 3
    assert max(abs(kept[token] - whole[token]) for token in shared) < 0.1


def test_a_dry_run_says_what_is_kept_and_why_not(qconv: Run, tmp_path: Path) -> None:
    stored, _ = quantized(tmp_path, "bitsandbytes")
    shown = qconv("convert", stored, "--type", "keep", "--dry-run", env=environment(COLUMNS="200"))
    assert shown.returncode == 0, shown.stderr
    assert "not kept: values of a table, which no type holds" in shown.stdout + shown.stderr
    assert "7 quantized tensors are not kept" in " ".join(shown.stderr.split())


def test_a_mix_of_ones_own_keeps_what_it_can(qconv: Run, tmp_path: Path) -> None:
    """The rest as asked."""
    stored, _ = quantized(tmp_path, "symmetric")
    mix = tmp_path / "mine.toml"
    mix.write_text('extends = "q8_0"\nkeep = true\n')
    done = qconv("convert", stored, "--mix", mix, "--output", tmp_path / "out.gguf", "--progress", "none")
    assert done.returncode == 0, done.stderr
    kinds = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "out.gguf").tensors}
    assert (kinds["blk.0.attn_q.weight"], kinds["token_embd.weight"]) == ("Q4_0", "Q8_0")


@pytest.mark.parametrize(
    ("base", "told"), [("org/Noise", True), ("org/Noise-bnb-4bit", False), ("org/Gemma-3", True), (None, False)]
)
def test_the_base_that_was_quantized_makes_a_better_file(qconv: Run, tmp_path: Path, base: str, told: bool) -> None:
    stored, plain = quantized(tmp_path, "mlx")
    for folder in (stored, plain):
        (folder / "README.md").write_text(f"---\nbase_model: {base}\n---\n" if base else "")
    said = " ".join(qconv("convert", stored, "--type", "q8_0", "--dry-run").stderr.split())
    assert (f"quantized by 'mlx'; if https://huggingface.co/{base} is what was quantized, convert that" in said) == told
    assert "is what was quantized" not in qconv("convert", plain, "--type", "q8_0", "--dry-run").stderr
