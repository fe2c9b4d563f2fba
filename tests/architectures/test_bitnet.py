"""BitNet's checkpoints on the Hub name their inner norms otherwise than llama.cpp's converter knows them."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from qconv import architectures, checkpoints
from qconv.architectures.operations.base import Source
from qconv.architectures.operations.ternary import ternary
from qconv.types import TensorInfo
from tests.architectures.tiny import write

RENAMED = {"inner_attn_ln": "attn_sub_norm", "ffn_layernorm": "ffn_sub_norm"}


class Matrix:
    """A reader of one matrix."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def read(self, name: str, start: int, stop: int, out: object = None) -> np.ndarray:
        return self.rows[start:stop]


def test_hub_names_of_inner_norms(tmp_path: Path) -> None:
    golden = json.loads((Path(__file__).parent / "goldens" / "bitnet.json").read_text("utf-8"))
    tensors = {}
    for name, about in golden["tensors"].items():
        module = name.split(".")[-2]
        tensors[name.replace(module, RENAMED.get(module, module))] = about
    write(tmp_path, golden["config"], tensors)
    with checkpoints.open(tmp_path) as checkpoint:
        made = {output.name: output.recipe for output in architectures.resolve(checkpoint).tensors}
    assert list(made) == [name for name, *_ in golden["expected"]["tensors"]]
    assert made["blk.1.attn_sub_norm.weight"].sources == ("model.layers.1.self_attn.attn_sub_norm.weight",)
    assert made["blk.1.ffn_sub_norm.weight"].sources == ("model.layers.1.mlp.ffn_sub_norm.weight",)


def test_ternary_by_hand() -> None:
    weights = np.array([[0.5, -3.0, 0.0], [1.0, 4.0, -0.5]], np.float32)  # magnitudes have the mean 1.5
    recipe = ternary(Source(TensorInfo("w", "F32", weights.shape)))
    scale = np.float32(1) / (np.float32(1) / np.float32(1.5))
    expected = scale * np.array([[0, -1, 0], [1, 1, 0]], np.float32)
    reader = Matrix(weights)
    assert np.array_equal(recipe.read(reader, 1, 2), expected[1:])
    assert np.array_equal(recipe.read(reader, 0, 2), expected)


def test_threads_share_one_mean() -> None:
    """All begin at once; the tensor is read for its mean by one of them, and its rows by each."""
    began, reads = threading.Barrier(4), []

    class Counting(Matrix):
        def read(self, name: str, start: int, stop: int, out: object = None) -> np.ndarray:
            reads.append((start, stop))
            time.sleep(0.02 if stop - start == 4 else 0)
            return super().read(name, start, stop)

    reader, recipe = Counting(np.ones((4, 2), np.float32)), ternary(Source(TensorInfo("w", "F32", (4, 2))))

    def one(row: int) -> None:
        began.wait(60)
        assert recipe.read(reader, row, row + 1).all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(4)))
    assert sorted(reads) == [(0, 1), (0, 4), (1, 2), (2, 3), (3, 4)]


def test_ternary_of_infinite_weights() -> None:
    recipe = ternary(Source(TensorInfo("w", "F32", (2, 2))))
    weights = np.array([[3e38, -3e38], [1, np.inf]], np.float32)
    assert not np.isfinite(recipe.read(Matrix(weights), 0, 2)).any()


def test_ternary_of_nothing_but_zeros() -> None:
    recipe = ternary(Source(TensorInfo("w", "F32", (2, 2))))
    assert not recipe.read(Matrix(np.zeros((2, 2), np.float32)), 0, 2).any()
