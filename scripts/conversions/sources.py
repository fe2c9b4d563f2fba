"""Checkpoints to convert: of random weights, or of weights that take no room."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from conversions.measure import run

ROOT = Path(__file__).resolve().parents[2]
LLAMA_1B = {"hidden": 2048, "layers": 16, "heads": 32, "kv-heads": 8, "ffn": 8192, "vocab": 128256}


def weights_of(checkpoint: Path) -> list[Path]:
    files = sorted(checkpoint.glob("*.safetensors")) if checkpoint.is_dir() else [checkpoint]
    if not files:
        raise SystemExit(f"{checkpoint}: there are no .safetensors files")
    return files


def make_checkpoint(directory: Path, tokenizer: Path | None) -> Path:
    """A checkpoint of Llama-3.2-1B's shape, unless it is there from an earlier run."""
    if not directory.exists():
        print(f"making {directory} (2.5 GB, a minute)", file=sys.stderr)
        sizes = [f"--{name}={size}" for name, size in LLAMA_1B.items()]
        unfinished = directory.with_suffix(".tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        run([sys.executable, ROOT / "scripts/make_checkpoint", unfinished, *sizes])
        unfinished.rename(directory)
    if tokenizer is not None:
        for file in tokenizer.glob("*token*.json"):
            shutil.copy(file, directory)
    return directory


def make_sparse(directory: Path, sizes: dict[str, int], like: Path) -> Path:
    """A checkpoint whose weights are a hole in the file: it takes no room, and all of it reads as zero."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in like.glob("*.json"):
        if "safetensors" not in file.name:
            shutil.copy(file, directory)
    config = json.loads((like / "config.json").read_text())
    config |= {
        "hidden_size": sizes["hidden"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "num_key_value_heads": sizes["kv-heads"],
        "intermediate_size": sizes["ffn"],
        "head_dim": sizes["hidden"] // sizes["heads"],
    }
    (directory / "config.json").write_text(json.dumps(config))
    header: dict[str, object] = {}
    offset = 0
    for name, shape in shapes(sizes, config["vocab_size"]):
        size = math.prod(shape) * 2
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    with (directory / "model.safetensors").open("wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        f.truncate(8 + len(text) + offset)
    return directory


def shapes(sizes: dict[str, int], vocabulary: int) -> Iterable[tuple[str, tuple[int, ...]]]:
    hidden, ffn, key = sizes["hidden"], sizes["ffn"], sizes["hidden"] // sizes["heads"] * sizes["kv-heads"]
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for layer in (f"model.layers.{i}" for i in range(sizes["layers"])):
        yield f"{layer}.input_layernorm.weight", (hidden,)
        yield f"{layer}.self_attn.q_proj.weight", (hidden, hidden)
        yield f"{layer}.self_attn.k_proj.weight", (key, hidden)
        yield f"{layer}.self_attn.v_proj.weight", (key, hidden)
        yield f"{layer}.self_attn.o_proj.weight", (hidden, hidden)
        yield f"{layer}.post_attention_layernorm.weight", (hidden,)
        yield f"{layer}.mlp.gate_proj.weight", (ffn, hidden)
        yield f"{layer}.mlp.up_proj.weight", (ffn, hidden)
        yield f"{layer}.mlp.down_proj.weight", (hidden, ffn)
    yield "model.norm.weight", (hidden,)
