"""Model ids are taken apart as llama.cpp's own Python package does."""

from __future__ import annotations

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qconv.metadata.model_id import parse, title

IDS = [
    "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen2.5-7B-Instruct-1M",
    "mistralai/Mixtral-8x7B-v0.1",
    "bigscience/bloom-7b1-petals",
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "microsoft/Phi-3-mini-4k-instruct",
    "Qwen/Qwen3-30B-A3B-Instruct-2507",
    "gpt2-xl",
    "gpt2",
    "stabilityai/stablelm-2-1_6b-chat",
    "Mistral-Nemo-Base-2407",
    "./models/x",
    "../Llama-7b",
    "a/b/c-7B",
    "",
    "-",
    "--7B",
    "7B",
    "My model 7B",
    "gte-large-en-v1.5",
    "deepseek-coder-1.3b-base-q4_k_m",
    "model-bf16",
    "SmolLM2-360M",
    "Grok-1-fp16-small-3B",
    "Yi-34B-200K",
    "x-mini-large",
]
PART = st.sampled_from(
    [
        "7B",
        "1_5b",
        "8x7B",
        "A3B",
        "7b1",
        "v1.0",
        "2407",
        "iter3",
        "q4_k_m",
        "bf16",
        "mini",
        "XL",
        "chat",
        "Instruct",
        "Foo",
        "base",
        "128k",
        "small",
        "",
        "3",
        "vision",
        "9x",
        "_",
        "b",
        "é",
    ]
)


def check(model_id: str, weights: int) -> None:
    ours = parse(model_id, weights)
    name, organization, basename, finetune, version, size = gguf.Metadata.get_model_id_components(model_id, weights)
    assert (ours.name, ours.organization, ours.basename) == (name, organization, basename)
    assert (ours.finetune, ours.version, ours.size_label) == (finetune, version, size)
    theirs = gguf.Metadata.id_to_title(name or "")  # type: ignore[no-untyped-call]  # the package leaves it untyped
    assert title(name or "") == theirs


@pytest.mark.parametrize("weights", [0, 1_000_000, 7_000_000_000])
@pytest.mark.parametrize("model_id", IDS)
def test_ids_met_in_the_wild(model_id: str, weights: int) -> None:
    check(model_id, weights)


@given(
    st.lists(PART, max_size=7),
    st.sampled_from(["", "org/", "./", "a b/", "org/x/"]),
    st.sampled_from([0, 7 * 10**9, 10**6]),
)
def test_any_id(parts: list[str], organization: str, weights: int) -> None:
    check(organization + "-".join(parts), weights)
