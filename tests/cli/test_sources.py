"""What a SOURCE may be, and what a user is told about one that is not all there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.checkpoints import packing
from tests.cli.commands import Run


def test_eight_bit_weights_without_their_scale_are_not_converted(qconv: Run, tmp_path: Path) -> None:
    quantization = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    config = {"architectures": ["LlamaForCausalLM"], "quantization_config": quantization}
    (tmp_path / "config.json").write_text(json.dumps(config))
    name = "model.layers.0.mlp.down_proj.weight"
    packing.save(tmp_path / "model.safetensors", {name: np.zeros((2, 32), np.uint8)}, {name: "F8_E4M3"})
    refused = qconv("convert", tmp_path, "--type", "q8_0", "--dry-run")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"tensor '{name}': is F8_E4M3 without its scale" in " ".join(refused.stderr.split())
