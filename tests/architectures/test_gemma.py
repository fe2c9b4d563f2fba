"""Gemma: what config and tokenizer say about vocabulary, windows and layers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qconv.architectures import registry
from qconv.architectures.derivations import gemma
from qconv.architectures.model import ModelContext
from qconv.errors import FormatError, PlanError
from qconv.storage import LocalFolder
from qconv.types import TensorInfo
from tests.tensors.arrays import ArrayTensor

SLIDING, FULL = "sliding_attention", "full_attention"


def model(directory: Path | None = None, rows: int = 100, **config: Any) -> ModelContext:
    tensors = {"embed_tokens.weight": TensorInfo("model.embed_tokens.weight", "BF16", (rows, 8))}
    folder = None if directory is None else LocalFolder(directory)
    return ModelContext(config, tensors, folder, "gemma4")


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_padding_is_zeros_below_the_matrix(step: int) -> None:
    matrix = np.arange(1, 21, dtype=np.float32).reshape(5, 4)
    padded = registry.lookup("operation", "pad_rows")(ArrayTensor("m", matrix), 7)
    rows = np.concatenate([padded.read(a, min(7, a + step)) for a in range(0, 7, step)])
    assert padded.shape == (7, 4)
    assert rows.tolist() == [*matrix.tolist(), [0.0] * 4, [0.0] * 4]


def test_padding_leaves_a_larger_matrix_alone() -> None:
    source = ArrayTensor("m", np.zeros((5, 4), np.float32))
    assert registry.lookup("operation", "pad_rows")(source, 5) is source


def test_sparsity_is_torchs() -> None:
    """Recorded from ``torch.distributions.Normal(0, 1).icdf`` in float32."""
    deviations = gemma.sparsity_in_deviations(
        model(activation_sparsity_pattern=[0.95, 0.9, 0.999, 0.01, 0.5, 0.0, 1.0])
    )
    torchs = ["0x1.a515200000000p+0", "0x1.4813c20000000p+0", "0x1.8b8cdc0000000p+1", "-0x1.29c5c80000000p+1"]
    assert [float.hex(value) for value in deviations[:4]] == torchs
    assert deviations[4:] == [0.0, -math.inf, math.inf]


@pytest.mark.parametrize("pattern", [None, 0.95, [2], ["a"]])
def test_sparsity_must_be_fractions(pattern: object) -> None:
    with pytest.raises(PlanError, match="fractions"):
        gemma.sparsity_in_deviations(model(activation_sparsity_pattern=pattern))


def test_window() -> None:
    assert gemma.gemma_sliding_window(model(sliding_window=512)) == 512
    assert gemma.gemma_sliding_window(model(sliding_window=512, sliding_window_pattern=1)) is None
    assert gemma.gemma_sliding_window(model(sliding_window=512, use_bidirectional_attention=True)) == 257


def test_vocabulary_is_the_configs() -> None:
    assert gemma.gemma_vocabulary(model(vocab_size=90)) == 90
    assert gemma.gemma_vocabulary(model(vocab_size=110)) == 100
    assert gemma.gemma_vocabulary(model()) == 100


def test_vocabulary_is_the_tokenizers(tmp_path: Path) -> None:
    tokenizer = {"model": {"vocab": {"a": 0, "b": 1, "c": 2}}, "added_tokens": [{"content": "b"}, {"content": "d"}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    assert gemma.gemma4_vocabulary(model(tmp_path, vocab_size=90)) == 4
    (tmp_path / "tokenizer.model").write_bytes(b"")
    assert gemma.gemma4_vocabulary(model(tmp_path, vocab_size=90)) == 90


@pytest.mark.parametrize("text", ["", "[]", '{"model": {"vocab": 3}, "added_tokens": []}'])
def test_broken_tokenizer(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text, "utf-8")
    with pytest.raises(FormatError, match="no vocabulary"):
        gemma.gemma4_vocabulary(model(tmp_path, vocab_size=90))


def test_layers_with_full_attention_have_their_own_heads() -> None:
    config: dict[str, Any] = {"layer_types": [SLIDING, FULL], "head_dim": 64, "num_key_value_heads": 4}
    own = {"1": {"head_dim": 128, "num_key_value_heads": 1}}
    assert gemma.gemma4_head_dim(model(**config, global_head_dim=96)) == 96
    assert gemma.gemma4_head_dim(model(**config, per_layer_config=own)) == 128
    assert gemma.gemma4_head_count_kv(model(**config)) == 4
    assert gemma.gemma4_head_count_kv(model(**config, per_layer_config=own)) == [4, 1]
    assert gemma.gemma4_head_count_kv(model(**config, num_global_key_value_heads=2)) == [4, 2]


@pytest.mark.parametrize(
    "config", [{}, {"global_head_dim": 0}, {"global_head_dim": "x"}, {"per_layer_config": {"9": 1}}]
)
def test_head_size_is_needed(config: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="size of a head"):
        gemma.gemma4_head_dim(model(layer_types=[SLIDING, FULL], **config))


def test_layers_that_share_keys_may_be_twice_as_wide() -> None:
    config: dict[str, Any] = {"num_hidden_layers": 3, "num_kv_shared_layers": 1, "intermediate_size": 10}
    assert gemma.gemma4_feed_forward(model(**config)) == 10
    assert gemma.gemma4_feed_forward(model(**config, use_double_wide_mlp=True)) == [10, 10, 20]


def test_rope_factors() -> None:
    rope = {"full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25}}
    factors = gemma.rope_factors_proportional(model(global_head_dim=16, layer_types=[FULL], rope_parameters=rope))
    assert factors.tolist() == [1.0, 1.0] + [float(np.float32(1e30))] * 6


@pytest.mark.parametrize(
    "full", [{}, {"rope_type": "default"}, {"rope_type": "proportional", "partial_rotary_factor": 1e9}]
)
def test_rope_must_be_proportional(full: dict[str, Any]) -> None:
    config: dict[str, Any] = {"global_head_dim": 16, "layer_types": [FULL], "rope_parameters": {"full_attention": full}}
    with pytest.raises(PlanError, match="proportional"):
        gemma.rope_factors_proportional(model(**config))
