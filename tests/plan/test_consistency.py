"""Config and tensors that disagree: told before a weight is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qconv import architectures, checkpoints
from qconv.errors import PlanError
from qconv.plan import consistency
from qconv.storage import LocalFolder
from tests.architectures import tiny

GOLDENS = sorted((Path(__file__).parents[1] / "architectures" / "goldens").glob("*.json"))


def doubts(folder: Path, golden: Path, tensors: dict[str, list[int]] | None = None, **config: Any) -> list[str]:
    """What is said of a recorded model after changes to its config and to the shapes of its tensors."""
    recorded = json.loads(golden.read_text("utf-8"))
    shapes = {name: (dtype, (tensors or {}).get(name, shape)) for name, (dtype, shape) in recorded["tensors"].items()}
    tiny.write(folder, recorded["config"] | config, shapes)
    with checkpoints.open(folder) as opened:
        resolved = architectures.resolve(opened, recorded.get("target"))
    return consistency.check(LocalFolder(folder), resolved)


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda path: path.stem)
def test_recorded_models_agree_with_their_configs(tmp_path: Path, golden: Path) -> None:
    """Those called bare have lost most of their config, and stand for sizes it then has by default.

    A few hold their embedding twice.
    """
    if not golden.stem.endswith("-bare"):
        assert [text for text in doubts(tmp_path, golden) if "ties it to the embedding" not in text] == []


LLAMA = next(path for path in GOLDENS if path.stem == "llama3-bpe")


def test_another_width_is_refused(tmp_path: Path) -> None:
    said = r"tensor 'lm_head.weight': is 288 x 256, but by config.json the model is 512 wide \(take config"
    with pytest.raises(PlanError, match=said):
        doubts(tmp_path, LLAMA, hidden_size=512)


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("model.embed_tokens.weight", [256], "is 256, but by config.json the model is 256 wide"),
        ("model.norm.weight", [], "is scalar, but"),
        ("model.layers.1.mlp.down_proj.weight", [2, 2, 192, 256], "is 2 x 2 x 192 x 256, but"),
    ],
)
def test_other_dimensions_are_refused(tmp_path: Path, name: str, shape: list[int], said: str) -> None:
    with pytest.raises(PlanError, match=f"tensor '{name}': {said}"):
        doubts(tmp_path, LLAMA, {name: shape})


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"num_key_value_heads": 4},
            ["layers.0.self_attn.k_proj.weight is 128 x 256; by config.json its 128 should be 256"],
        ),
        (
            {"intermediate_size": 512},
            ["layers.0.mlp.down_proj.weight is 256 x 768; by config.json its 768 should be 512"],
        ),
        (
            {"num_attention_heads": 8},
            ["o_proj.weight is 256 x 256; by config.json its 256 should be 512", "q_proj.weight is"],
        ),
    ],
)
def test_other_heads_and_feed_forward_parts_are_told(tmp_path: Path, config: dict[str, Any], said: list[str]) -> None:
    told = doubts(tmp_path, LLAMA, **config)
    for part in said:
        assert any(part in text for text in told)


def test_an_output_matrix_that_is_the_embedding_is_told(tmp_path: Path) -> None:
    (told,) = doubts(tmp_path, LLAMA, tie_word_embeddings=True)
    assert told.startswith("lm_head.weight is stored though config.json ties it to the embedding")
