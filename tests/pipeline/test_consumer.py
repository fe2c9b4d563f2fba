"""What a consumer of weights needs: a sink, and nothing below it."""

from __future__ import annotations

import ast
from pathlib import Path

import gguf
import numpy as np
import pytest

import qconv
from tests.cli.commands import make_checkpoint
from tests.pipeline import consumer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("consumer") / "Noise", "--layers", "1")


def test_it_sees_source_rows_and_encoded_rows_of_every_tensor(checkpoint: Path, tmp_path: Path) -> None:
    """The same sums, from the finished file and the 16-bit one, by llama.cpp's own Python package."""
    half, quantized = qconv.convert(checkpoint, ["bf16", "q8_0"], output=tmp_path)
    exact = {t.name: t for t in gguf.GGUFReader(half).tensors}
    expected = {}
    for tensor in gguf.GGUFReader(quantized).tensors:
        if tensor.tensor_type == gguf.GGMLQuantizationType.Q8_0:
            source = gguf.quants.dequantize(exact[tensor.name].data, exact[tensor.name].tensor_type)
            error = gguf.quants.dequantize(tensor.data, tensor.tensor_type) - source
            expected[tensor.name] = float(np.square(error, dtype=np.float64).sum())
    measured = consumer.errors(checkpoint, "q8_0")
    assert measured == pytest.approx(expected)
    assert len(measured) > 5


def test_it_is_short_and_knows_rooms_only() -> None:
    text = Path(consumer.__file__).read_text("utf-8")
    lines = [
        line for line in text.splitlines() if line.strip() and not line.strip().startswith(('"""', "import", "from"))
    ]
    assert len(lines) < 40
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qconv"):
            assert (node.module or "").count(".") <= 1, node.module
