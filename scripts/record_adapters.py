#!/usr/bin/env python3
"""Records what PEFT merges, for tests/adapters/vectors: small adapters of each kind, and the weights they make.

    scripts/record_adapters.py

Needs peft 0.21.2, torch 2.13.0, transformers 5.23.0 (for GPT-2's ``Conv1D``) and safetensors, of which qconv itself
uses none but the last.  Each case is a folder with the adapter as PEFT saves it and ``merged.safetensors``, the tensors
that ``merge_and_unload`` changed; ``base.safetensors`` is what all of them change.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

TARGET = Path(__file__).resolve().parents[1] / "tests" / "adapters" / "vectors"
TOKENS, WIDTH, EXPERTS = 20, 12, 4


class Experts(nn.Module):
    """Parameters without modules of their own, as transformers keeps experts."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.randn(EXPERTS, 14, WIDTH))
        self.down_proj = nn.Parameter(torch.randn(EXPERTS, WIDTH, 7))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(WIDTH, 16)
        self.k_proj = nn.Linear(WIDTH, 8, bias=False)
        self.c_attn = Conv1D(18, WIDTH)
        self.conv = nn.Conv1d(4, 6, 3)
        self.patch = nn.Conv2d(3, 5, (2, 4))
        self.experts = Experts()


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(TOKENS, WIDTH)
        self.layers = nn.ModuleList([Layer()])


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.lm_head = nn.Linear(WIDTH, TOKENS, bias=False)


CASES: dict[str, dict[str, Any]] = {
    "linear": {"target_modules": ["q_proj", "k_proj"], "r": 3, "lora_alpha": 7},
    "rslora": {"target_modules": ["q_proj", "k_proj"], "r": 5, "lora_alpha": 7, "use_rslora": True},
    "patterns": {
        "target_modules": ["q_proj", "k_proj", "lm_head"],
        "r": 2,
        "lora_alpha": 3,
        "rank_pattern": {r"layers\.0\.q_proj": 4, "k_proj": 1},
        "alpha_pattern": {r".*\.q_proj": 9, "lm_head": 5},
    },
    "embedding": {"target_modules": ["embed_tokens"], "r": 3, "lora_alpha": 5},
    "transposed": {"target_modules": ["c_attn"], "r": 3, "lora_alpha": 5, "fan_in_fan_out": True},
    "convolutions": {"target_modules": ["conv", "patch"], "r": 2, "lora_alpha": 5},
    "dora": {"target_modules": ["q_proj", "k_proj"], "r": 3, "lora_alpha": 7, "use_dora": True},
    "dora-embedding": {"target_modules": ["embed_tokens"], "r": 3, "lora_alpha": 5, "use_dora": True},
    "dora-transposed": {
        "target_modules": ["c_attn"], "r": 3, "lora_alpha": 5, "use_dora": True, "fan_in_fan_out": True,
    },
    "dora-convolutions": {"target_modules": ["conv", "patch"], "r": 2, "lora_alpha": 5, "use_dora": True},
    "lora-bias": {"target_modules": ["q_proj"], "r": 3, "lora_alpha": 7, "lora_bias": True},
    "bias": {"target_modules": ["q_proj"], "r": 3, "lora_alpha": 7, "bias": "lora_only"},
    "modules-to-save": {"target_modules": ["q_proj"], "r": 2, "modules_to_save": ["embed_tokens", "lm_head"]},
    "tokens": {"target_modules": ["q_proj"], "r": 2, "trainable_token_indices": {"embed_tokens": [3, 17, 4]}},
    "experts": {"target_modules": [], "target_parameters": ["experts.gate_up_proj", "experts.down_proj"], "r": 3},
    "experts-one": {
        "target_modules": ["q_proj"], "target_parameters": ["experts.down_proj"], "r": 2, "lora_alpha": 3,
        "alpha_pattern": {"experts.down_proj": 11},
    },
}  # fmt: skip
"""Name → what ``LoraConfig`` is given."""


def shaken(model: PeftModel) -> PeftModel:
    """Random values for whatever is trained, so that no product is zero and no magnitude the one it began with."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data + 0.5 * torch.randn_like(parameter)
    return model


def changed(before: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    after = model.state_dict()
    assert set(after) == set(before), set(after) ^ set(before)
    return {name: after[name].contiguous() for name in after if not torch.equal(after[name], before[name])}


def fresh() -> Base:
    torch.manual_seed(0)
    return Base()


def one(name: str, options: dict[str, Any]) -> None:
    before = {key: value.clone() for key, value in fresh().state_dict().items()}
    model = shaken(get_peft_model(fresh(), LoraConfig(init_lora_weights=False, **options)))
    model.save_pretrained(TARGET / name, save_embedding_layers=False)
    save_file(changed(before, model.merge_and_unload()), TARGET / name / "merged.safetensors")


def several(name: str, first: str, second: str) -> None:
    """Two adapters merged one after the other, the second already recorded by itself as is the first."""
    before = {key: value.clone() for key, value in fresh().state_dict().items()}
    model = PeftModel.from_pretrained(fresh(), str(TARGET / first), adapter_name="first")
    model.load_adapter(str(TARGET / second), adapter_name="second")
    merged = model.merge_and_unload(adapter_names=["first", "second"])
    (TARGET / name).mkdir()
    save_file(changed(before, merged), TARGET / name / "merged.safetensors")


def weighted(name: str, case: str, weight: float) -> None:
    """One adapter, its scaling changed as ``set_scale`` does."""
    before = {key: value.clone() for key, value in fresh().state_dict().items()}
    model = PeftModel.from_pretrained(fresh(), str(TARGET / case))
    for module in model.modules():
        scale: Callable[..., None] | None = getattr(module, "set_scale", None)
        if scale is not None:
            scale("default", weight)
    (TARGET / name).mkdir()
    save_file(changed(before, model.merge_and_unload()), TARGET / name / "merged.safetensors")


def main() -> None:
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir(parents=True)
    save_file(fresh().state_dict(), TARGET / "base.safetensors")
    for name, options in CASES.items():
        one(name, options)
        (TARGET / name / "README.md").unlink(missing_ok=True)
    several("linear+rslora", "linear", "rslora")
    several("linear+dora", "linear", "dora")
    weighted("linear=0.25", "linear", 0.25)


if __name__ == "__main__":
    main()
