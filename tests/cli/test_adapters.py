"""``qconv convert --adapter``: a merged model's file, by itself and against the numbers it is made of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from safetensors.numpy import load_file

from tests.adapters.adapter import Numbers, save, whole
from tests.cli.commands import Run, make_checkpoint
from tests.cli.llama_cpp import complete

LAYER = "model.layers.1.mlp.down_proj"


def lora(folder: Path, seed: int = 0) -> Path:
    """Of rank 2 and strength 2, on one matrix of 256 x 768."""
    a, b = whole(2, 768, seed=seed), whole(256, 2, seed=seed + 1)
    return save(folder, {f"base_model.model.{LAYER}.lora_A.weight": a, f"base_model.model.{LAYER}.lora_B.weight": b})


def test_a_merged_model_is_converted_verified_and_resumed(qconv: Run, tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "Noise-Instruct", "--dtype", "f32")
    one, two = lora(tmp_path / "one"), lora(tmp_path / "two", 7)
    command = ("convert", base, "--adapter", one, "--adapter", f"{two}=0.25", "--type", "f32", "--output", tmp_path)
    made = qconv(*command, "--manifest")
    assert made.returncode == 0, made.stderr
    file = Path(made.stdout.strip())
    assert file.name == "Noise-3.4M-Instruct-one-two-F32.gguf"
    weights = load_file(base / "model.safetensors")[f"{LAYER}.weight"]
    for folder, strength in ((one, np.float32(2)), (two, np.float32(0.5))):
        a, b = (
            load_file(folder / "adapter_model.safetensors")[f"base_model.model.{LAYER}.lora_{x}.weight"] for x in "AB"
        )
        weights = weights + strength * (b @ a)
    tensors = {tensor.name: tensor.data for tensor in GGUFReader(file).tensors}
    assert tensors["blk.1.ffn_down.weight"].tobytes() == weights.tobytes()
    manifest = json.loads(file.with_name(f"{file.name}.json").read_text())
    assert manifest["options"] == {"adapter": [f"{one}=1.0", f"{two}=0.25"]}
    assert [source["name"] for source in manifest["sources"]] == ["model.safetensors"] + 2 * [
        "adapter_model.safetensors"
    ]
    verified = qconv("verify", file, "--against", base)
    assert verified.returncode == 0, verified.stdout
    part = qconv(*command, "--part", "1/2", "--output", tmp_path / "x.gguf")
    assert part.returncode == 0, part.stderr
    other = qconv("convert", base, "--adapter", one, "-t", "f32", "-o", tmp_path / "x.gguf", "--part", "2/2")
    assert other.returncode == 1, "parts of two models must not meet in one file"


def test_an_adapter_alone_is_told_what_to_type(qconv: Run, tmp_path: Path) -> None:
    folder = lora(tmp_path / "mine")
    refused = qconv("convert", folder, "--type", "f16")
    assert (refused.returncode, refused.stdout) == (1, "")
    told = " ".join(refused.stderr.split())
    assert "holds a LoRA adapter, not a model: what changes in their/base" in told
    assert f"qconv convert their/base --adapter {folder}" in told
    assert f"qconv convert {folder} --base their/base" in told
    (folder / "adapter_config.json").write_text("{}")
    refused = qconv("convert", folder, "--type", "f16")
    told = " ".join(refused.stderr.split())
    assert f"what changes in one (merge it: qconv convert BASE --adapter {folder}; or" in told


def test_info_tells_what_an_adapter_is(qconv: Run, tmp_path: Path) -> None:
    told = qconv("info", lora(tmp_path / "mine"))
    assert told.returncode == 0
    assert "an adapter: what changes in their/base" in " ".join(told.stdout.split())


def test_an_adapter_of_another_base_is_refused(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    name = "base_model.model.model.layers.9.self_attn.q_proj"
    other = save(tmp_path / "o", {f"{name}.lora_A.weight": whole(2, 4), f"{name}.lora_B.weight": whole(6, 2)})
    refused = qconv("convert", checkpoint, "--adapter", other, "--type", "q8_0", "--output", tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    told = " ".join(refused.stderr.split())
    assert f"does not fit the base {checkpoint}" in told
    assert "give the model it was trained on, their/base" in told


def test_a_gguf_file_takes_no_adapter(q8_0: Path, qconv: Run, tmp_path: Path) -> None:
    refused = qconv("convert", q8_0, "--adapter", lora(tmp_path / "mine"), "--type", "q4_0", "--allow-requantize")
    assert refused.returncode == 1
    assert "is a GGUF file, into which no adapter is merged" in " ".join(refused.stderr.split())


def test_llama_cpp_runs_an_adapter_as_it_runs_the_merged_model(qconv: Run, tmp_path: Path) -> None:
    """Its own file beside the base, and merged: the same probabilities, of strengths that no number for all gives."""
    base = make_checkpoint(tmp_path / "Noise", "--dtype", "f32", "--untied", "--layers", "2")
    draw = np.random.default_rng(5)
    tensors: dict[str, Numbers] = {}
    for name, rows, columns, rank in (
        ("model.layers.0.self_attn.q_proj", 256, 256, 4),
        ("model.layers.1.self_attn.k_proj", 128, 256, 16),
        ("model.layers.1.mlp.down_proj", 256, 768, 4),
        ("lm_head", 1024, 256, 4),
    ):
        tensors[f"base_model.model.{name}.lora_A.weight"] = draw.standard_normal((rank, columns), np.float32)
        tensors[f"base_model.model.{name}.lora_B.weight"] = draw.standard_normal((rows, rank), np.float32) / np.float32(
            50
        )
    embedding = "base_model.model.model.embed_tokens.lora_embedding_"
    tensors[f"{embedding}A"] = draw.standard_normal((4, 1024), np.float32)
    tensors[f"{embedding}B"] = draw.standard_normal((256, 4), np.float32) / np.float32(50)
    patterns = {"rank_pattern": {"k_proj": 16}, "alpha_pattern": {"down_proj": 3}}
    adapter = save(tmp_path / "mine", tensors, r=4, lora_alpha=8, use_rslora=True, **patterns)
    files = []
    for source, options in ((base, ()), (adapter, ("--base", base)), (base, ("--adapter", adapter))):
        made = qconv("convert", source, *options, "--type", "f32", "--output", tmp_path)
        assert made.returncode == 0, made.stderr
        files.append(Path(made.stdout.strip()))
    assert files[1].name == "Mine-F32-LoRA.gguf"
    plain, added, merged = (
        complete(files[0], 1, 20)["logprobs"],
        complete(files[0], 1, 20, adapter=files[1])["logprobs"],
        complete(files[2], 1, 20)["logprobs"],
    )
    assert plain.keys() != merged.keys()
    both = added.keys() & merged.keys()
    assert len(both) >= 18, "those at the end may change places"
    assert [added[token] for token in both] == pytest.approx([merged[token] for token in both], abs=0.01)
