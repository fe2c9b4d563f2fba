"""The memory of running a model, against figures worked out by hand from llama.cpp's rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qconv.summary.memory import memory
from qconv.types import Metadata, Value, ValueType


def keys(architecture: str, values: dict[str, Any]) -> Metadata:
    def value(data: Any) -> Value:
        if isinstance(data, bool):
            return Value.boolean(data)
        if isinstance(data, list):
            kind = ValueType.BOOL if isinstance(data[0], bool) else ValueType.INT32
            return Value.array(kind, np.array(data))
        return Value.uint32(data)

    return {f"{architecture}.{name}": value(data) for name, data in values.items()}


def cache(architecture: str, context: int, values: dict[str, Any]) -> int:
    needed = memory(keys(architecture, values), architecture, 0, context)
    assert needed is not None
    return needed.cache


def test_grouped_heads() -> None:
    # Llama 3.2 1B: 16 layers, 8 key-value heads of 64: 16 * 8 * (64 + 64) * 2 bytes a token = 32 KiB
    llama = {"block_count": 16, "embedding_length": 2048, "attention.head_count": 32, "attention.head_count_kv": 8}
    assert cache("llama", 4096, llama) == 4096 * 32 * 1024


def test_weights_come_on_top() -> None:
    llama = keys("llama", {"block_count": 1, "embedding_length": 64, "attention.head_count": 1})
    needed = memory(llama, "llama", 1000, 1)
    assert needed is not None
    assert (needed.total, needed.assumed) == (1000 + 2 * 2 * 64, ("the cache in F16", "one sequence"))


def test_heads_of_each_layer_and_lengths_of_their_own() -> None:
    model = {"block_count": 3, "attention.head_count": 8, "attention.head_count_kv": [4, 0, 2], "embedding_length": 512}
    assert cache("deci", 100, model) == 100 * (4 + 2) * (64 + 64) * 2
    assert cache("deci", 100, model | {"attention.key_length": 128, "attention.value_length": 32}) == 100 * 6 * 160 * 2


def test_sliding_windows() -> None:
    # Gemma 3: five of six layers keep 1024 tokens and a batch of 512, in steps of 256
    gemma = {"block_count": 6, "attention.head_count": 1, "attention.head_count_kv": 1, "attention.key_length": 256}
    gemma |= {"attention.value_length": 256, "attention.sliding_window": 1024}
    assert cache("gemma3", 32768, gemma) == (5 * 1536 + 32768) * 512 * 2
    assert cache("gemma3", 1000, gemma) == 6 * 1000 * 512 * 2
    # an architecture whose runtime slides none keeps everything, whatever the key says
    assert cache("phi3", 32768, gemma) == 6 * 32768 * 512 * 2


def test_a_pattern_in_the_file_and_shared_layers() -> None:
    gemma4: dict[str, int | list[bool]] = {
        "block_count": 4,
        "attention.head_count": 1,
        "attention.head_count_kv": 1,
        "attention.sliding_window": 512,
    }
    gemma4 |= {"attention.key_length": 512, "attention.value_length": 512, "attention.key_length_swa": 256}
    gemma4 |= {"attention.value_length_swa": 256, "attention.sliding_window_pattern": [True, False, True, False]}
    assert cache("gemma4", 8192, gemma4) == 2 * (1024 * 512 + 8192 * 1024) * 2
    assert cache("gemma4", 8192, gemma4 | {"attention.shared_kv_layers": 2}) == (1024 * 512 + 8192 * 1024) * 2


def test_latent_attention_keeps_no_values() -> None:
    # DeepSeek V3: 61 layers, one vector of 512 + 64 numbers a token
    deepseek = {
        "block_count": 61,
        "attention.head_count": 128,
        "attention.head_count_kv": 1,
        "attention.key_length": 576,
    }
    deepseek |= {"attention.value_length": 512, "attention.key_length_mla": 192, "attention.value_length_mla": 128}
    assert cache("deepseek2", 1000, deepseek) == 61 * 1000 * 576 * 2


def test_recurrent_states_do_not_grow() -> None:
    mamba = {
        "block_count": 2,
        "embedding_length": 768,
        "attention.head_count": 0,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": 1536,
    }
    mamba |= {"ssm.state_size": 16}
    state = 3 * 1536 + 1536 * 16
    assert cache("mamba", 10, mamba) == cache("mamba", 10_000, mamba) == 2 * state * 4


def test_hybrids_have_both() -> None:
    # every fourth layer has attention
    qwen = {"block_count": 4, "attention.head_count": 4, "attention.head_count_kv": 2, "attention.key_length": 256}
    qwen |= {"attention.value_length": 256, "ssm.conv_kernel": 4, "ssm.inner_size": 4096, "ssm.state_size": 128}
    qwen |= {"ssm.group_count": 16, "full_attention_interval": 4}
    state = 3 * (4096 + 2 * 16 * 128) + 4096 * 128
    assert cache("qwen3next", 100, qwen) == 100 * 2 * 512 * 2 + 3 * state * 4


def test_embedding_models_have_no_cache() -> None:
    bert = {"block_count": 12, "embedding_length": 768, "attention.head_count": 12}
    assert cache("bert", 512, bert) == 0
    assert cache("llama-embed", 512, bert | {"attention.causal": False}) == 0


@pytest.mark.parametrize("layers", [0, 1 << 31])
def test_nothing_is_said_where_the_file_says_nothing(layers: int) -> None:
    assert memory(keys("llama", {"block_count": layers}), "llama", 0, 4096) is None
    assert memory({}, "llama", 0, 4096) is None
