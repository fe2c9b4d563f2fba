"""gpt-oss as Unsloth keeps it, every expert's matrices linear layers of their own, becomes what the original becomes.

Expected are the bytes llama.cpp's converter made of the original.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from tests.architectures import tiny
from tests.checkpoints.test_mlx import WIDTHS, Saved, made, recorded, save


def test_experts_one_by_one(tmp_path: Path) -> None:
    golden = recorded("gpt-oss-plain")
    tensors: Saved = {}
    for name, (dtype, shape) in golden["tensors"].items():
        values = np.frombuffer(tiny.weights(name, dtype, tuple(shape)), "<f2").reshape(shape)
        module, _, part = name.partition(".experts.")
        if not part:
            tensors[name.replace(".mlp.router.", ".mlp.router.linear.")] = values
            continue
        biases = part.endswith("_bias")
        for number, own in enumerate(values):
            layer = f"{module}.experts.{part.removesuffix('_bias')}s.{number}"
            tensors[f"{layer}.{'bias' if biases else 'weight'}"] = own if biases else own.T.copy()
    assert any(".gate_up_projs.1.weight" in name for name in tensors)
    outputs = made(save(tmp_path, golden, tensors))
    expected = golden["expected"]["tensors"]
    assert {name: shape for name, (shape, _) in outputs.items()} == {name: shape for name, _, shape, _ in expected}
    for name, kind, _, digest in expected:
        assert hashlib.sha256(outputs[name][1].astype(WIDTHS[kind]).tobytes()).hexdigest() == digest, name
