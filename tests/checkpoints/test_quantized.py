"""Quantized weights against what the libraries that store them make of them (``scripts/record_quantized.py``)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qconv import checkpoints
from qconv.checkpoints import quantized
from qconv.checkpoints.methods import METHODS
from qconv.errors import FormatError
from tests.checkpoints import packing

CASES = Path(__file__).parent / "quantized"
KNOWN: dict[str, dict[str, Any]] = json.loads((CASES / "cases.json").read_text())


def folder(tmp_path: Path, name: str, **changes: Any) -> Path:
    """The case ``name`` as a checkpoint; ``changes``: keys of its config, None to leave the config out."""
    shutil.copy(CASES / f"{name}.safetensors", tmp_path / "model.safetensors")
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    config |= {"quantization_config": KNOWN[name]["config"]} | changes
    present = {key: value for key, value in config.items() if value is not None}
    (tmp_path / "config.json").write_text(json.dumps(present))
    return tmp_path


def expected(name: str) -> dict[str, NDArray[np.float32]]:
    with np.load(CASES / f"{name}.npz") as weights:
        return dict(weights)


def rounded(values: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """To nearest, ties to even, as the libraries round what they compute."""
    if kind == "F16":
        return values.astype(np.float16).astype(np.float32)
    if kind == "BF16":
        bits = values.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return values


def check(opened: checkpoints.Checkpoint, name: str) -> None:
    for tensor, weights in expected(name).items():
        assert opened.tensors[tensor].shape == weights.shape
        assert opened.tensors[tensor].dtype == "F32"
        whole = weights.reshape(-1, weights.shape[-1])
        read = opened.read(tensor, 0, len(whole))
        np.testing.assert_array_equal(rounded(read, KNOWN[name]["type"]), whole)
        for start, stop in ((1, len(whole)), (len(whole) - 2, len(whole) - 1), (2, 2)):
            np.testing.assert_array_equal(opened.read(tensor, start, stop), read[start:stop])
        prepared = opened.lazy[tensor].prepare()
        np.testing.assert_array_equal(prepared.read(1, 3), read[1:3])


@pytest.mark.parametrize("name", KNOWN)
def test_weights_are_the_librarys(tmp_path: Path, name: str) -> None:
    with checkpoints.open(folder(tmp_path, name)) as opened:
        assert not opened.notes
        check(opened, name)


@pytest.mark.parametrize("name", [name for name in KNOWN if not KNOWN[name].get("needs config")])
def test_tensors_tell_the_method_when_the_config_is_lost(tmp_path: Path, name: str) -> None:
    with checkpoints.open(folder(tmp_path, name, quantization_config=None)) as opened:
        check(opened, name)


def test_a_config_that_was_left_over_is_ignored_with_a_note(tmp_path: Path) -> None:
    """Training on a quantized model and saving the merged one in 16 bits leaves its quantization_config behind."""
    weights = packing.numbers(4, 32)
    packing.save(tmp_path / "model.safetensors", {"a.weight": weights})
    config = {"quantization_config": {"load_in_4bit": True, "quant_method": "bitsandbytes"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with checkpoints.open(tmp_path) as opened:
        assert opened.notes == (
            "the config says 'bitsandbytes', but the weights are not quantized: they are taken as they are",
        )
        np.testing.assert_array_equal(opened.read("a.weight", 0, 4), weights)


def test_tensors_of_another_method_than_the_configs(tmp_path: Path) -> None:
    said = {"quant_method": "gptq", "bits": 4}
    with checkpoints.open(folder(tmp_path, "ct-pack-4", quantization_config=said)) as opened:
        assert opened.notes == ("the config says 'gptq', but the weights are quantized by 'compressed-tensors'",)
        check(opened, "ct-pack-4")


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32])
def test_integers_without_scales_are_no_weights(tmp_path: Path, kind: type[np.generic]) -> None:
    packing.save(tmp_path / "model.safetensors", {"a.weight": np.zeros((4, 32), kind)})
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        FormatError, match=r"tensor 'a\.weight': is [IU]\d+: integers are weights only with their scales"
    ):
        checkpoints.open(tmp_path)


def test_every_method_is_read_or_refused() -> None:
    table = quantized.table()
    assert {name for name, method in table.items() if method.refused is None} == set(METHODS)
    assert all(table[name].source for name in METHODS)
