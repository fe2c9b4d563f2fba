#!/usr/bin/env python3
"""Records what mlx-lm fuses, for tests/adapters/mlx_vectors: an adapter of each kind, and the weights it makes.

    scripts/record_mlx_adapters.py

Needs mlx 0.32.4 and mlx-lm 0.32.2, which qconv itself never uses.  Each case is a folder with ``base.safetensors``, the
adapter as ``mlx_lm.lora`` writes it, and ``merged.safetensors``, what the layers' own ``fuse`` makes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlx.core as mx
from mlx import nn
from mlx_lm.models.switch_layers import SwitchLinear
from mlx_lm.tuner.dora import DoRAEmbedding, DoRALinear
from mlx_lm.tuner.lora import LoRAEmbedding, LoRALinear, LoRASwitchLinear

TARGET = Path(__file__).resolve().parents[1] / "tests" / "adapters" / "mlx_vectors"
SCALE, RANK = 7.5, 3


def main() -> None:
    shutil.rmtree(TARGET, ignore_errors=True)
    mx.random.seed(1)
    cases = {
        "lora": {
            "model.layers.0.self_attn.q_proj": (nn.Linear(12, 16), LoRALinear),
            "model.layers.0.mlp.switch_mlp.up_proj": (SwitchLinear(12, 10, 4, bias=False), LoRASwitchLinear),
            "model.embed_tokens": (nn.Embedding(20, 12), LoRAEmbedding),
        },
        "dora": {
            "model.layers.0.self_attn.q_proj": (nn.Linear(12, 16), DoRALinear),
            "model.embed_tokens": (nn.Embedding(20, 12), DoRAEmbedding),
        },
    }
    for kind, layers in cases.items():
        base, own, merged = {}, {}, {}
        for name, (layer, kind_of_layer) in layers.items():
            adapted = kind_of_layer.from_base(layer, r=RANK, scale=SCALE)
            for part in ("lora_a", "lora_b", "m"):
                if part in adapted:
                    adapted[part] = mx.random.normal(adapted[part].shape)
                    own[f"{name}.{part}"] = adapted[part]
            base[f"{name}.weight"], merged[f"{name}.weight"] = layer.weight, adapted.fuse().weight
        folder = TARGET / kind
        folder.mkdir(parents=True)
        for file, tensors in (("base", base), ("adapters", own), ("merged", merged)):
            mx.save_safetensors(str(folder / f"{file}.safetensors"), tensors)
        parameters = {"rank": RANK, "scale": SCALE, "dropout": 0.0}
        config = {"fine_tune_type": kind, "num_layers": 1, "lora_parameters": parameters}
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")


if __name__ == "__main__":
    main()
