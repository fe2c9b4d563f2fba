"""Falcon, GPT-BigCode, GPT-NeoX, MPT, Phi: numbers their configs give in several ways, or not at all."""

from __future__ import annotations

import math
from typing import Any

import pytest

from qconv.architectures.derivations import falcon, gpt, mpt, phi
from qconv.architectures.model import ModelContext
from qconv.errors import PlanError


def model(**config: Any) -> ModelContext:
    return ModelContext(config, {}, None, "tested")


@pytest.mark.parametrize(
    ("config", "heads"),
    [
        ({"num_kv_heads": 71, "multi_query": True, "new_decoder_architecture": False}, 1),  # falcon-7b's config
        ({"num_kv_heads": 8, "new_decoder_architecture": True}, 8),
        ({"new_decoder_architecture": True}, 71),
        ({"n_head_kv": 8}, 8),  # falcon-40b's first config
        ({"multi_query": False}, 71),
        ({}, 1),
    ],
)
def test_falcons_key_heads(config: dict[str, Any], heads: int) -> None:
    assert falcon.falcon_head_count_kv(model(num_attention_heads=71, **config)) == heads


def test_bigcodes_key_heads() -> None:
    assert gpt.bigcode_head_count_kv(model(n_head=16)) == 1
    assert gpt.bigcode_head_count_kv(model(n_head=16, multi_query=False)) == 16


def test_neox_rotary_share() -> None:
    newer = {"rope_parameters": {"partial_rotary_factor": 0.5}}
    assert gpt.neox_rotary_share(model(rotary_pct=1.0, **newer)) == 1.0
    assert gpt.neox_rotary_share(model(**newer)) == 0.5
    assert gpt.neox_rotary_share(model()) == 0.25


def test_mpt_attention() -> None:
    def heads(**attention: Any) -> int | None:
        return mpt.mpt_head_count_kv(model(attn_config=attention))

    assert heads(attn_type="multihead_attention", kv_n_heads=2) is None
    assert heads(attn_type="multiquery_attention") == 1
    assert heads(attn_type="grouped_query_attention", kv_n_heads=2) == 2
    assert mpt.mpt_alibi_bias(model(attn_config={})) == 8
    assert mpt.mpt_alibi_bias(model(attn_config={"alibi": True, "alibi_bias_max": 16})) == 16
    assert mpt.mpt_alibi_bias(model(attn_config={"alibi": False, "alibi_bias_max": 16})) == 0


def longrope(kind: str, **more: Any) -> ModelContext:
    rope = {"rope_type": kind, "long_factor": [4.0, 5.0], "short_factor": [1.0, 2.0], **more}
    rope["original_max_position_embeddings"] = 4096
    return model(hidden_size=8, num_attention_heads=2, max_position_embeddings=131072, rope_parameters=rope)


def test_longrope_scales_attention() -> None:
    assert phi.longrope_attention_factor(longrope("longrope")) == math.sqrt(1 + math.log(32) / math.log(4096))
    assert phi.longrope_attention_factor(longrope("yarn")) == 0.1 * math.log(32) + 1
    assert phi.longrope_attention_factor(longrope("longrope", long_factor=None)) is None
    with pytest.raises(PlanError, match="dynamic"):
        phi.longrope_attention_factor(longrope("dynamic"))


def test_longrope_factors() -> None:
    for make, wanted in ((phi.longrope_long_factors, [4.0, 5.0]), (phi.longrope_short_factors, [1.0, 2.0])):
        made = make(longrope("longrope"))
        assert made is not None
        assert made.tolist() == wanted
    with pytest.raises(PlanError, match="is not 2 numbers"):
        phi.longrope_short_factors(longrope("longrope", short_factor=[1.0]))


def test_rotating_dimensions() -> None:
    size = {"hidden_size": 2560, "num_attention_heads": 32}
    assert phi.rotating_dimensions(model(**size, rope_parameters={"partial_rotary_factor": 0.4})) == 32
    assert phi.rotating_dimensions(model(**size, rotary_dim=24)) == 24
    assert phi.rotating_dimensions(model(**size)) == 80
