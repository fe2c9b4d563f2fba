"""What transformers 5 leaves out of a config, or calls otherwise, where llama.cpp's converter fails or goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qconv import architectures, checkpoints
from qconv.architectures.resolve import Resolved
from qconv.types import Metadata
from tests.architectures.tiny import write

GOLDENS = Path(__file__).parent / "goldens"


def resolved(name: str, directory: Path, without: str = "", mtp: str = "keep", **changes: Any) -> Resolved:
    """The golden's checkpoint with another config."""
    recorded = json.loads((GOLDENS / f"{name}.json").read_text("utf-8"))
    config = {key: value for key, value in recorded["config"].items() if key != without}
    write(directory, config | changes, recorded["tensors"])
    with checkpoints.open(directory) as checkpoint:
        return architectures.resolve(checkpoint, mtp=mtp)


def values(metadata: Metadata) -> dict[str, Any]:
    return {key: value.data for key, value in metadata.items()}


@pytest.mark.parametrize(
    ("name", "key"),
    [("cohere2", "rotary_pct"), ("minimax-m2-new", "rotary_dim")],
)
def test_size_of_rotation_left_out(name: str, key: str, tmp_path: Path) -> None:
    expected = values(resolved(name, tmp_path / "with").metadata)
    assert values(resolved(name, tmp_path / "without", without=key).metadata) == expected


@pytest.mark.parametrize(
    ("name", "key", "kinds"),
    [
        ("granitehybrid", "layer_types", ["linear_attention", "full_attention", "linear_attention"]),
        ("granitehybrid-attention", "layer_types", ["full_attention", "full_attention"]),
        ("nemotron_h", "hybrid_override_pattern", ["mamba", "mlp", "attention", "mlp"]),
    ],
)
def test_other_words_for_kinds_of_layers(name: str, key: str, kinds: list[str], tmp_path: Path) -> None:
    changes: dict[str, Any] = {key: kinds}
    before, after = resolved(name, tmp_path / "old"), resolved(name, tmp_path / "new", **changes)
    assert after.architecture == before.architecture
    assert values(after.metadata) == values(before.metadata)
    assert [output.name for output in after.tensors] == [output.name for output in before.tensors]


def test_a_drafter_inside_deepseek_v4_is_what_its_further_layers_are(tmp_path: Path) -> None:
    """llama.cpp's converter has it with --dspark, which takes the class for DeepseekV4DSparkModel's."""
    drafter = resolved("dspark-deepseek4", tmp_path / "drafter")
    inside = resolved("dspark-deepseek4", tmp_path / "inside", mtp="only", architectures=["DeepseekV4ForCausalLM"])
    assert (inside.architecture, inside.metadata) == ("dflash", drafter.metadata)
    assert [output.name for output in inside.tensors] == [output.name for output in drafter.tensors]
    assert inside.tokenizer == ("target",)
