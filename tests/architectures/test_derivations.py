"""Derivations on configs that no golden file has: unusual patterns, and configs that contradict themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qconv import architectures, checkpoints
from qconv.architectures import registry
from qconv.architectures.model import ModelContext
from qconv.errors import PlanError
from tests.architectures.tiny import write

GOLDENS = Path(__file__).parent / "goldens"
SLIDING, FULL, LINEAR = "sliding_attention", "full_attention", "linear_attention"


def derive(name: str, *of: Any, **config: Any) -> Any:
    return registry.lookup("derivation", name)(ModelContext(config, table="hy_v4"), *of)


def resolve(name: str, directory: Path, **changes: Any) -> dict[str, Any]:
    """A golden's metadata with another config."""
    recorded = json.loads((GOLDENS / f"{name}.json").read_text("utf-8"))
    write(directory, recorded["config"] | changes, recorded["tensors"])
    with checkpoints.open(directory) as checkpoint:
        return {key: value.data for key, value in architectures.resolve(checkpoint).metadata.items()}


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([SLIDING, SLIDING, SLIDING, FULL], None),
        ([SLIDING, FULL, SLIDING, FULL], [True, False, True, False]),
        ([FULL, FULL, FULL, FULL], None),
    ],
)
def test_windows_are_listed_where_the_runtime_would_guess_wrong(kinds: list[str], expected: object) -> None:
    config = {"layer_types": kinds, "sliding_window": 64}
    assert derive("sliding_layers_unless_usual", 4, 3, **config) == expected
    assert derive("window_in_use", **config) == (64 if SLIDING in kinds else None)


def test_layers_with_windows_counted_from_the_last() -> None:
    assert derive("layer_types_from_the_last", num_hidden_layers=5) == [FULL, SLIDING, SLIDING, SLIDING, FULL]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"attn_type_list": [0] * 7 + [1]}, None),
        ({"layer_types": [LINEAR] * 7 + [FULL]}, None),
        ({"attn_type_list": [0, 1]}, [True, False]),
        ({}, None),
    ],
)
def test_linear_attention_is_listed_where_the_runtime_would_guess_wrong(
    config: dict[str, Any], expected: object
) -> None:
    assert derive("linear_layers_unless_usual", 8, **config) == expected


def test_residuals_are_scaled_by_one_number() -> None:
    names = [f"layernorm_{part}_{kind}" for part in (FULL, LINEAR, "mlp") for kind in ("alpha", "beta")]
    config = dict.fromkeys(names, 1.0) | {"layernorm_mlp_alpha": 2.0}
    with pytest.raises(PlanError, match=r"scales residuals by \{'alpha': \{.*GGUF by one alpha"):
        derive("residual_scale_minimax", **config)


def test_exaone_spells_windows_in_letters() -> None:
    kinds = derive("layer_types_exaone4", num_hidden_layers=5, sliding_window=64, sliding_window_pattern="LG")
    assert kinds == [SLIDING, FULL, SLIDING, FULL, SLIDING]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [(["full", "shared"], [True, False]), (["shared", "full", "full"], [False, True])],
)
def test_indexers_are_listed_or_follow_from_the_layers(kinds: list[str], expected: list[bool]) -> None:
    assert derive("indexer_layers_hy_v4", num_hidden_layers=2, indexer_types=kinds) == expected


def test_no_indexer_where_attention_is_full() -> None:
    assert derive("indexer_layers_hy_v4", num_hidden_layers=2, layer_types=[FULL, FULL]) is None


def test_indexers_of_fewer_layers_are_refused() -> None:
    with pytest.raises(PlanError, match=r"\['full'\] for 'indexer_types'.*a word for each layer"):
        derive("indexer_layers_hy_v4", num_hidden_layers=2, indexer_types=["full"])


def test_llada_names_a_heads_size() -> None:
    assert derive("head_dim_llada", head_dim=32, d_model=64, n_heads=4) == 32


@pytest.mark.parametrize(
    ("name", "config", "key"),
    [
        ("sliding_layers_mimo", {"hybrid_layer_pattern": [1]}, "hybrid_layer_pattern"),
        ("head_count_deci", {"block_configs": [], "num_attention_heads": 4}, "block_configs"),
        ("n_layer_puzzle", {"block_configs": []}, "block_configs"),
        ("feed_forward_openelm", {"ffn_multipliers": 4.0, "ffn_dim_divisor": 256}, "ffn_multipliers"),
        ("by_kind_step35", {"layer_types": 5, "num_attention_heads": 4}, "layer_types"),
    ],
)
def test_lists_that_are_none_are_refused(name: str, config: dict[str, Any], key: str) -> None:
    with pytest.raises(PlanError, match=f"for '{key}'"):
        derive(name, *(["num_attention_heads"] if name == "by_kind_step35" else []), num_hidden_layers=2, **config)


def test_openelm_rounds_up_what_would_lose_a_tenth() -> None:
    """576 is nearest to 512, which is less than nine tenths of it; 640 goes up as it is half way."""
    config = {"model_dim": 64, "ffn_dim_divisor": 256, "ffn_multipliers": [9.0, 10.0, 1.0]}
    assert derive("feed_forward_openelm", **config) == [768, 768, 256]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"mamba_step": 2, "num_hidden_layers": 4}, [0, 2, 0, 2]),
        ({"mamba_step": 4, "num_hidden_layers": 2}, [0, 2]),
        ({"mamba_enabled": False, "num_hidden_layers": 2}, None),
    ],
)
def test_plamo_2_has_attention_in_the_middle_of_some_layers(config: dict[str, Any], expected: object) -> None:
    assert derive("attention_heads_plamo2", "num_key_value_heads", 4, num_key_value_heads=2, **config) == expected


def test_rwkv_7_names_ranks_or_has_them_by_its_width() -> None:
    """At a width of 4096: 64 * 1.8 is 115, nearest to 4 times 32; 776 * 0.6 is 465, nearest to 15 times 32."""
    keys = ("lora_rank_gate", "gate_low_rank_dim")
    assert derive("lora_rank_rwkv7", *keys, 0.8, 0.6, hidden_size=4096, gate_low_rank_dim=None) == 480
    assert derive("lora_rank_rwkv7", *keys, 0.5, 1.8, hidden_size=4096) == 128
    assert derive("lora_rank_rwkv7", *keys, 0.5, 1.8, hidden_size=4096, gate_low_rank_dim=96) == 96


def test_step_3_5_without_a_part_that_rotates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="no part of a head that rotates with full attention"):
        resolve("step35", tmp_path, partial_rotary_factors=None)


def test_a_tensor_of_one_value_must_be_there() -> None:
    with pytest.raises(PlanError, match="the single value of the tensor lm_head_gain"):
        derive("tensor_value", "lm_head_gain")


def test_added_tokens_without_an_embedding_are_suppressed(tmp_path: Path) -> None:
    """The vocabulary of tokenizer.json ends before the embedding, of which some rows are zero."""
    recorded = json.loads((GOLDENS / "minimax-01.json").read_text("utf-8"))
    write(tmp_path, recorded["config"], recorded["tensors"])
    file = tmp_path / "model.safetensors"
    data = bytearray(file.read_bytes())
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    name = next(name for name in header if name.endswith("embed_tokens.weight"))
    rows, columns = header[name]["shape"]
    begin, end = (8 + size + offset for offset in header[name]["data_offsets"])
    embedding = np.frombuffer(data, np.uint16, rows * columns, begin).reshape(rows, columns).copy()
    embedding[[3, rows - 4, rows - 1]] = 0
    data[begin:end] = embedding.tobytes()
    file.write_bytes(data)
    vocab = {f"t{i}": i for i in range(rows - 8)}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}}))
    with checkpoints.open(tmp_path) as checkpoint:
        metadata = architectures.resolve(checkpoint).metadata
    assert list(metadata["tokenizer.ggml.suppress_tokens"].data) == [rows - 4, rows - 1]


def test_far_too_many_added_tokens_are_refused(tmp_path: Path) -> None:
    config = json.loads((GOLDENS / "minimax-01.json").read_text("utf-8"))["config"]
    tensors = json.loads((GOLDENS / "minimax-01.json").read_text("utf-8"))["tensors"]
    wide = {k: (t, [5000, s[1]] if k.endswith("embed_tokens.weight") else s) for k, (t, s) in tensors.items()}
    write(tmp_path, config, wide)
    with checkpoints.open(tmp_path) as checkpoint, pytest.raises(PlanError, match="4712 tokens have been added"):
        architectures.resolve(checkpoint)
