"""Bases and adapters of which ``files.json`` holds what llama.cpp's converter makes (``record_adapter_files.py``)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.adapters.adapter import Numbers, save
from tests.checkpoints import packing

WIDTH, HIDDEN, KEYS, TOKENS, EXPERTS, RANK = 64, 96, 32, 48, 4, 4
CONFIG = {
    "hidden_size": WIDTH,
    "intermediate_size": HIDDEN,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": TOKENS,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
ATTENTION = {
    "self_attn.q_proj": (WIDTH, WIDTH),
    "self_attn.k_proj": (KEYS, WIDTH),
    "self_attn.v_proj": (KEYS, WIDTH),
    "self_attn.o_proj": (WIDTH, WIDTH),
}
DENSE = {"mlp.gate_proj": (HIDDEN, WIDTH), "mlp.up_proj": (HIDDEN, WIDTH), "mlp.down_proj": (WIDTH, HIDDEN)}
SPARSE = {
    f"block_sparse_moe.experts.{number}.{name}": (WIDTH, HIDDEN) if name == "w2" else (HIDDEN, WIDTH)
    for number in range(EXPERTS)
    for name in ("w1", "w2", "w3")
}


def values(*shape: int, seed: int) -> Numbers:
    """Multiples of 1/64 below 16, which no 16-bit float rounds, and halves of the last bit of F16 besides."""
    draws = np.random.default_rng(seed).integers(-1023, 1024, shape).astype(np.float32)
    return draws / np.float32(64) + np.float32(2**-13) * (draws % 3)


def base(
    folder: Path, modules: dict[str, tuple[int, int]], other: Mapping[str, tuple[int, ...]] | None = None, **config: Any
) -> Path:
    """A model of two layers, all of whose weights are zero: only their names and shapes count."""
    tensors = {"model.embed_tokens.weight": (TOKENS, WIDTH), "lm_head.weight": (TOKENS, WIDTH)}
    shapes: dict[str, tuple[int, ...]] = {**tensors, "model.norm.weight": (WIDTH,)}
    for layer in range(2):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.{name}.weight": shape for name, shape in modules.items()}
        shapes |= {f"{at}.{name}": shape for name, shape in (other or {}).items()}
        shapes |= {f"{at}.{name}.weight": (WIDTH,) for name in ("input_layernorm", "post_attention_layernorm")}
    packing.save(folder / "model.safetensors", {name: np.zeros(shape, np.float16) for name, shape in shapes.items()})
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    return folder


def lora(folder: Path, modules: dict[str, tuple[int, int]], **config: Any) -> Path:
    """An adapter of all ``modules`` in both layers, tensors in the order of their names as PEFT writes them."""
    tensors: dict[str, Numbers] = {}
    for layer in range(2):
        for name, (rows, columns) in modules.items():
            at = f"base_model.model.model.layers.{layer}.{name}"
            tensors[f"{at}.lora_A.weight"] = values(RANK, columns, seed=len(tensors))
            tensors[f"{at}.lora_B.weight"] = values(rows, RANK, seed=len(tensors))
    return save(folder, dict(sorted(tensors.items())), r=RANK, lora_alpha=6, **config)


def llama(folder: Path) -> tuple[Path, Path]:
    modules = {**ATTENTION, **DENSE}
    config: dict[str, Any] = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    return base(folder / "Base-1B", modules, **config), lora(folder / "my-lora", modules)


def embedding(folder: Path) -> tuple[Path, Path]:
    """Of the embedding, whose A llama.cpp turns, and of the output layer."""
    model, _ = llama(folder)
    tensors = {
        "base_model.model.lm_head.lora_A.weight": values(RANK, WIDTH, seed=1),
        "base_model.model.lm_head.lora_B.weight": values(TOKENS, RANK, seed=2),
        "base_model.model.model.embed_tokens.lora_embedding_A": values(RANK, TOKENS, seed=3),
        "base_model.model.model.embed_tokens.lora_embedding_B": values(WIDTH, RANK, seed=4),
    }
    return model, save(folder / "my-embedding-1B", tensors, r=RANK, lora_alpha=16)


def mixtral(folder: Path) -> tuple[Path, Path]:
    config: dict[str, Any] = {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "num_local_experts": EXPERTS,
    }
    modules = {**ATTENTION, "block_sparse_moe.gate": (EXPERTS, WIDTH), **SPARSE}
    model = base(folder / "Base-4x1B", modules, num_experts_per_tok=2, **config)
    return model, lora(folder / "my-experts", {**ATTENTION, **SPARSE})


def qwen2(folder: Path) -> tuple[Path, Path]:
    """Whose queries and keys are in GGUF's order already; an adapter with tags and a base on its card."""
    modules = {**ATTENTION, **DENSE}
    config: dict[str, Any] = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
    adapter = lora(folder / "Qwen2-0.5B-Chat-lora-v2", modules)
    card = "---\nbase_model: Qwen/Qwen2-0.5B\nlicense: mit\ntags:\n- lora\n- chat\n---\n"
    (adapter / "README.md").write_text(card)
    return base(folder / "Qwen2-0.5B", modules, **config), adapter


EXPERTS_MODEL: dict[str, Any] = {"architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe"}
EXPERTS_MODEL |= {"num_experts": EXPERTS}
SHARED = {
    **{f"mlp.shared_expert.{name}_proj.weight": DENSE[f"mlp.{name}_proj"] for name in ("gate", "up", "down")},
    "mlp.gate.weight": (EXPERTS, WIDTH),
    "mlp.shared_expert_gate.weight": (1, WIDTH),
}


def fused_experts(folder: Path) -> tuple[Path, Path]:
    """A base as transformers 5 saves some: all experts in one tensor, gate above up."""
    experts = {
        "mlp.experts.gate_up_proj": (EXPERTS, 2 * HIDDEN, WIDTH),
        "mlp.experts.down_proj": (EXPERTS, WIDTH, HIDDEN),
    }
    model = base(folder / "Base-MoE", ATTENTION, {**experts, **SHARED}, **EXPERTS_MODEL)
    return model, lora(folder / "my-attention", ATTENTION)


def experts_apart(folder: Path) -> tuple[Path, Path]:
    """The same model with each expert by itself."""
    experts = {
        f"mlp.experts.{number}.{name}_proj.weight": DENSE[f"mlp.{name}_proj"]
        for number in range(EXPERTS)
        for name in ("gate", "up", "down")
    }
    model = base(folder / "Base-MoE", ATTENTION, {**experts, **SHARED}, **EXPERTS_MODEL)
    return model, lora(folder / "my-attention", ATTENTION)


CASES: dict[str, Callable[[Path], tuple[Path, Path]]] = {
    "llama": llama,
    "embedding": embedding,
    "mixtral": mixtral,
    "qwen2": qwen2,
}
TYPES = ("f32", "f16", "bf16")
