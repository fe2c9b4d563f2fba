"""A model of the size of Qwen3-235B-A22B on the Hub: its plan is made from headers alone, few bytes and few requests.

37 thousand tensors in 118 files of 4 GB, of which only the headers are there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import pytest
from small_tokenizer import tokenizer

from qconv import checkpoints, plan, summary
from qconv.options import ConvertOptions
from tests.storage.hub_server import Hollow, HubServer, Repository

NAME = "acme/Large-A22B"
LAYERS, EXPERTS, HIDDEN, FFN, VOCABULARY, SHARDS = 94, 128, 4096, 1536, 151936, 118
CONFIG = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 64,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "intermediate_size": 12288,
    "moe_intermediate_size": FFN,
    "num_experts": EXPERTS,
    "num_experts_per_tok": 8,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": VOCABULARY,
}
MOST_READ, MOST_REQUESTS = 30_000_000, 300


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of all tensors, as the model's own class names them."""
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in (f"model.layers.{i}" for i in range(LAYERS)):
        yield f"{layer}.self_attn.q_proj.weight", (8192, HIDDEN)
        yield f"{layer}.self_attn.k_proj.weight", (512, HIDDEN)
        yield f"{layer}.self_attn.v_proj.weight", (512, HIDDEN)
        yield f"{layer}.self_attn.o_proj.weight", (HIDDEN, 8192)
        yield f"{layer}.self_attn.q_norm.weight", (128,)
        yield f"{layer}.self_attn.k_norm.weight", (128,)
        yield f"{layer}.input_layernorm.weight", (HIDDEN,)
        yield f"{layer}.post_attention_layernorm.weight", (HIDDEN,)
        yield f"{layer}.mlp.gate.weight", (EXPERTS, HIDDEN)
        for expert in (f"{layer}.mlp.experts.{i}" for i in range(EXPERTS)):
            yield f"{expert}.gate_proj.weight", (FFN, HIDDEN)
            yield f"{expert}.up_proj.weight", (FFN, HIDDEN)
            yield f"{expert}.down_proj.weight", (HIDDEN, FFN)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCABULARY, HIDDEN)


@pytest.fixture
def large(hub: HubServer) -> HubServer:
    """The server, with the model."""
    every = list(shapes())
    share = -(-len(every) // SHARDS)
    files: dict[str, bytes | Hollow] = {
        "config.json": json.dumps(CONFIG).encode(),
        "tokenizer.json": json.dumps(tokenizer(1024)).encode(),
    }
    places = {}
    for number in range(SHARDS):
        header, offset = {}, 0
        file = f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        for name, shape in every[number * share : (number + 1) * share]:
            size = 2 * math.prod(shape)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
            offset += size
            places[name] = file
        text = json.dumps(header).encode()
        beginning = len(text).to_bytes(8, "little") + text
        files[file] = Hollow(beginning, len(beginning) + offset)
    files["model.safetensors.index.json"] = json.dumps({"weight_map": places}).encode()
    hub.repositories[NAME] = Repository(files)
    return hub


def test_a_dry_run(large: HubServer) -> None:
    with checkpoints.open(f"hf://{NAME}") as checkpoint:
        (made,) = plan.make(checkpoint, ConvertOptions(types=("q4_k_m",)))
    assert made.weights > 235e9
    assert len(made.tensors) == LAYERS * 12 + 3
    assert sum(large.sent.values()) < MOST_READ
    assert len(large.requests) < MOST_REQUESTS


def test_info(large: HubServer) -> None:
    with checkpoints.open(f"hf://{NAME}") as checkpoint:
        told = summary.describe(checkpoint)
    assert told.architecture == "qwen3moe"
    assert sum(large.sent.values()) < MOST_READ
    assert len(large.requests) < MOST_REQUESTS
