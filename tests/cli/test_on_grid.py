"""A checkpoint in 16 bits whose weights were trained for Q4_0: they lie on its grid, and can be kept without loss."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGUFReader
from numpy.typing import NDArray
from safetensors import safe_open

from tests.blocks.test_grid import bfloat16
from tests.checkpoints import packing
from tests.cli.commands import Run, environment, make_checkpoint

SPOILT = "model.layers.0.mlp.up_proj.weight"


def trained(folder: Path, spoil: bool = False) -> dict[str, NDArray[np.float32]]:
    """A checkpoint in ``folder``, whose projections lie on grids of Q4_0, all but one row of ``SPOILT`` if that is
    wanted; its weights."""
    source = make_checkpoint(folder.with_name("source"), "--layers", "1", "--ffn", "512")
    shutil.copytree(source, folder)
    rng = np.random.default_rng(3)
    weights: dict[str, NDArray[np.float32]] = {}
    with safe_open(source / "model.safetensors", "np") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  # it is not a dictionary
    for name, shape in shapes.items():
        values: NDArray[np.floating[Any]] = rng.standard_normal(shape) / 16
        if name.endswith("proj.weight"):
            scale = (rng.random((shape[0], shape[1] // 32)) * 0.01 + 0.001).astype(np.float16)
            values = rng.integers(-8, 8, shape) * scale.astype(np.float32).repeat(32, 1)
        if spoil and name == SPOILT:
            values[5, 40] *= 1.3
        weights[name] = bfloat16(values.astype(np.float32))
    stored: dict[str, Any] = {name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in weights.items()}
    packing.save(folder / "model.safetensors", stored, dict.fromkeys(stored, "BF16"))
    config = json.loads((source / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"torch_dtype": "bfloat16"}))
    return weights


def test_keep_gives_every_weight_back(qconv: Run, tmp_path: Path) -> None:
    weights = trained(tmp_path / "model")
    out = tmp_path / "out.gguf"
    given = ("--type", "keep", "--output", out, "--manifest", "--progress", "none")
    done = qconv("convert", tmp_path / "model", *given)
    assert done.returncode == 0, done.stderr
    tensors = {tensor.name: tensor for tensor in GGUFReader(out).tensors}
    kinds = {name: tensor.tensor_type.name for name, tensor in tensors.items() if "norm" not in name}
    assert {kind for name, kind in kinds.items() if name.startswith("blk.")} == {"Q4_0"}
    assert kinds["token_embd.weight"] == "BF16"
    up = gguf.dequantize(tensors["blk.0.ffn_up.weight"].data, gguf.GGMLQuantizationType.Q4_0)
    np.testing.assert_array_equal(bfloat16(up), weights["model.layers.0.mlp.up_proj.weight"])
    checked = qconv("verify", out, "--against", tmp_path / "model")
    assert checked.returncode == 0, checked.stderr


def test_q4_0_is_llama_cpps_and_tells_of_a_better_way(qconv: Run, tmp_path: Path) -> None:
    weights = trained(tmp_path / "model")
    out = tmp_path / "out.gguf"
    done = qconv("convert", tmp_path / "model", "--type", "q4_0", "--output", out, "--progress", "none")
    assert "trained to lie on a grid of Q4_0: --type keep encodes them without loss" in " ".join(done.stderr.split())
    tensors = {tensor.name: tensor for tensor in GGUFReader(out).tensors}
    plain = weights["model.layers.0.mlp.down_proj.weight"]
    expected = gguf.quantize(plain, gguf.GGMLQuantizationType.Q4_0)
    np.testing.assert_array_equal(tensors["blk.0.ffn_down.weight"].data, expected)
    assert (bfloat16(gguf.dequantize(expected, gguf.GGMLQuantizationType.Q4_0)) != plain).any()  # that loses something


def test_a_block_off_the_grid_is_refused_and_can_be_left_out(qconv: Run, tmp_path: Path) -> None:
    """Rows that are not looked at while planning."""
    weights = trained(tmp_path / "model", spoil=True)
    out = tmp_path / "out.gguf"
    given = ("convert", tmp_path / "model", "--type", "keep", "--output", out, "--progress", "none")
    refused = qconv(*given)
    assert refused.returncode == 1
    said = " ".join(refused.stderr.split())
    assert "'blk.0.ffn_up.weight': row 5 is off the grid of Q4_0, from column 32 on" in said
    assert not out.exists()
    done = qconv(*given, "--tensor-type", "ffn_up=bf16")
    assert done.returncode == 0, done.stderr
    tensors = {tensor.name: tensor for tensor in GGUFReader(out).tensors}
    assert tensors["blk.0.ffn_gate.weight"].tensor_type.name == "Q4_0"
    up = gguf.dequantize(tensors["blk.0.ffn_up.weight"].data, gguf.GGMLQuantizationType.BF16)
    np.testing.assert_array_equal(up, weights[SPOILT])


@pytest.mark.parametrize("type", ["keep", "q4_0"])
def test_other_weights_are_not_taken_for_such(qconv: Run, tmp_path: Path, type: str) -> None:
    source = make_checkpoint(tmp_path / "source", "--layers", "1", "--ffn", "512", "--dtype", "bf16")
    shown = qconv("convert", source, "--type", type, "--dry-run", env=environment(COLUMNS="200"))
    assert shown.returncode == 0, shown.stderr
    assert "grid" not in shown.stdout + shown.stderr
