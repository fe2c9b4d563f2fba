"""Tiny models with the shapes and names that decide types, for scripts/record_policy.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np


def write(
    path: Path, architecture: str, metadata: dict[str, Any], tensors: list[tuple[str, tuple[int, ...], str]]
) -> None:
    w = gguf.GGUFWriter(path, architecture)
    basics = {"context_length": 128, "embedding_length": 256, "feed_forward_length": 512, "attention.head_count": 8}
    for key, value in {**basics, **metadata}.items():
        if isinstance(value, float):
            w.add_float32(f"{architecture}.{key}", value)
        elif isinstance(value, list):
            w.add_array(f"{architecture}.{key}", value)
        else:
            w.add_uint32(f"{architecture}.{key}", value)
    for name, shape, stored in tensors:
        dtype = {"F32": np.float32, "F16": np.float16, "BF16": np.float32, "I32": np.int32}[stored]
        w.add_tensor(name, np.zeros(shape, dtype))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def block(
    layer: int, *, hidden: int = 256, experts: int = 0, qkv: bool = False, ff: int = 512, rows: int = 2
) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """A transformer block's tensors; only row lengths and dimensions matter, so there are few rows."""
    b = f"blk.{layer}."
    yield b + "attn_norm.weight", (hidden,), "F32"
    for part in ("attn_qkv",) if qkv else ("attn_q", "attn_k", "attn_v"):
        yield f"{b}{part}.weight", (rows, hidden), "F16"
    yield b + "attn_output.weight", (rows, hidden), "F16"
    yield b + "attn_output.bias", (rows,), "F32"
    yield b + "ffn_norm.weight", (hidden,), "F32"
    if experts:
        yield b + "ffn_gate_inp.weight", (experts, hidden), "F32"
        for part, columns in (("gate", hidden), ("up", hidden), ("down", ff)):
            yield f"{b}ffn_{part}_exps.weight", (experts, rows, columns), "F16"
            yield f"{b}ffn_{part}_shexp.weight", (rows, columns), "F16"
    else:
        for part, columns in (("gate", hidden), ("up", hidden), ("down", ff)):
            yield f"{b}ffn_{part}.weight", (rows, columns), "F16"


def model(
    layers: int, *, tied: bool = False, hidden: int = 256, **kinds: Any
) -> list[tuple[str, tuple[int, ...], str]]:
    tensors: list[tuple[str, tuple[int, ...], str]] = [("token_embd.weight", (4, hidden), "F16")]
    if not tied:
        tensors += [("output.weight", (4, hidden), "F16")]
    tensors += [("output_norm.weight", (hidden,), "F32")]
    for layer in range(layers):
        tensors += block(layer, hidden=hidden, **kinds)
    return tensors


RMS = {"attention.layer_norm_rms_epsilon": 1e-5}
NORM = {"attention.layer_norm_epsilon": 1e-5}


def synthetic() -> dict[str, tuple[str, dict[str, Any], list[tuple[str, tuple[int, ...], str]]]]:
    """Models by name: architecture, metadata, tensors."""
    moe = {"expert_used_count": 2, "expert_feed_forward_length": 512}
    wrong = [
        ("blk.0.attn_q.weight", (1, 256), "F16"),
        ("blk.0.attn_k.weight", (256, 1), "F16"),
        ("odd", (4, 256), "F16"),
    ]
    names = [
        "blk.0.ssm_conv1d.weight",
        "blk.0.shortconv.conv.weight",
        "blk.0.altup_proj.weight",
        "blk.0.laurel_l.weight",
        "per_layer_model_proj.weight",
        "per_layer_token_embd.weight",
        "position_embd.weight",
        "token_types.weight",
        "blk.0.attn_rel_b.weight",
        "blk.0.time_mix_w1.weight",
        "blk.0.ffn_gate_inp_shexp.weight",
        "blk.0.attn_kv_b.weight",
        "blk.0.attn_kv_a_mqa.weight",
        "blk.0.ffn_down_extra.weight",
        "blk.10.attn_v.weight",
        "blk.2.attn_v.weight",
        "dec.blk.0.cross_attn_v.weight",
        "enc.blk.0.ffn_down.weight",
        "blk.0.indexer.k_proj.weight",
        "blk.0.exp_probs_b.bias",
    ]
    return {
        "llama 32 untied": ("llama", {**RMS, "block_count": 32, "attention.head_count_kv": 8}, model(32)),
        "llama 9 tied gqa 4": ("llama", {**RMS, "block_count": 9, "attention.head_count_kv": 2}, model(9, tied=True)),
        "llama 70b": ("llama", {**RMS, "block_count": 80, "attention.head_count_kv": 1}, model(80, rows=1 + 1)),
        "llama 65b": ("llama", {**RMS, "block_count": 80, "attention.head_count_kv": 8}, model(80)),
        "qwen2 72b": ("qwen2", {**RMS, "block_count": 80, "attention.head_count_kv": 8}, model(80)),
        "olmo 70b": ("olmo", {**NORM, "block_count": 80}, model(80, tied=True)),
        "mixtral 32": (
            "llama",
            {**RMS, **moe, "block_count": 32, "expert_count": 8, "attention.head_count_kv": 2},
            model(32, experts=8),
        ),
        "mixtral 80": (
            "llama",
            {**RMS, **moe, "block_count": 80, "expert_count": 8, "attention.head_count_kv": 1},
            model(80, experts=8),
        ),
        "qwen3moe 16 experts": (
            "qwen3moe",
            {**RMS, **moe, "block_count": 24, "expert_count": 16, "attention.head_count_kv": 1},
            model(24, experts=16),
        ),
        "falcon": ("falcon", {**NORM, "block_count": 32, "attention.head_count_kv": 1}, model(32, qkv=True)),
        "falcon tied": (
            "falcon",
            {**NORM, "block_count": 60, "attention.head_count_kv": 8},
            model(60, qkv=True, tied=True),
        ),
        "bloom fused": ("bloom", {**NORM, "block_count": 24}, model(24, qkv=True, tied=True)),
        "rows of 320": ("llama", {**RMS, "block_count": 4, "embedding_length": 320}, model(4, hidden=320, ff=864)),
        "rows of 100": (
            "llama",
            {**RMS, "block_count": 4, "embedding_length": 800},
            model(4, hidden=100, ff=900, tied=True),
        ),
        "heads by layer": ("llama", {**RMS, "block_count": 4, "attention.head_count_kv": [2, 8, 0, 8]}, model(4)),
        "no heads": (
            "mamba",
            {
                **RMS,
                "block_count": 3,
                "attention.head_count": 0,
                "ssm.conv_kernel": 4,
                "ssm.inner_size": 512,
                "ssm.state_size": 16,
                "ssm.time_step_rank": 16,
            },
            model(3, tied=True),
        ),
        "names": (
            "llama",
            {**RMS, "block_count": 16, "attention.head_count_kv": 2},
            model(0) + wrong + [(n, (4, 256), "F16") for n in names],
        ),
    }
