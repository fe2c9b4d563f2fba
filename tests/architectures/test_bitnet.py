"""BitNet's checkpoints on the Hub name their inner norms otherwise than llama.cpp's converter knows them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from qconv import architectures, checkpoints
from qconv.tensors.ternary import ternary
from tests.architectures.tiny import write
from tests.tensors.arrays import ArrayTensor

RENAMED = {"inner_attn_ln": "attn_sub_norm", "ffn_layernorm": "ffn_sub_norm"}


def test_hub_names_of_inner_norms(tmp_path: Path) -> None:
    golden = json.loads((Path(__file__).parent / "goldens" / "bitnet.json").read_text("utf-8"))
    tensors = {}
    for name, about in golden["tensors"].items():
        module = name.split(".")[-2]
        tensors[name.replace(module, RENAMED.get(module, module))] = about
    write(tmp_path, golden["config"], tensors)
    with checkpoints.open(tmp_path) as checkpoint:
        made = {output.name: output.tensor for output in architectures.resolve(checkpoint).tensors}
    assert list(made) == [name for name, *_ in golden["expected"]["tensors"]]
    assert made["blk.1.attn_sub_norm.weight"].sources == ("model.layers.1.self_attn.attn_sub_norm.weight",)
    assert made["blk.1.ffn_sub_norm.weight"].sources == ("model.layers.1.mlp.ffn_sub_norm.weight",)


def test_ternary_by_hand() -> None:
    weights = np.array([[0.5, -3.0, 0.0], [1.0, 4.0, -0.5]], np.float32)  # magnitudes have the mean 1.5
    scale = np.float32(1) / (np.float32(1) / np.float32(1.5))
    expected = scale * np.array([[0, -1, 0], [1, 1, 0]], np.float32)
    for tensor in (ternary(ArrayTensor("w", weights)), ternary(ArrayTensor("w", weights)).prepare()):
        assert np.array_equal(tensor.read(1, 2), expected[1:])
        assert np.array_equal(tensor.read(0, 2), expected)


def test_a_prepared_tensor_is_not_read_for_its_mean_again() -> None:
    weights = ArrayTensor("w", np.ones((4, 2), np.float32))
    prepared = ternary(weights).prepare()
    for row in range(4):
        assert prepared.read(row, row + 1).all()
    assert weights.reads == [(0, 4), (0, 1), (1, 2), (2, 3), (3, 4)]
    assert prepared.prepare() is prepared
    assert prepared.key == ternary(weights).key


def test_ternary_of_infinite_weights() -> None:
    weights = np.array([[3e38, -3e38], [1, np.inf]], np.float32)
    assert not np.isfinite(ternary(ArrayTensor("w", weights)).read(0, 2)).any()


def test_ternary_of_nothing_but_zeros() -> None:
    assert not ternary(ArrayTensor("w", np.zeros((2, 2), np.float32))).read(0, 2).any()
