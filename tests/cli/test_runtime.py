"""Files made by qconv in llama.cpp itself."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.cli.commands import Run
from tests.cli.llama_cpp import PROMPT, complete

RECORD = json.loads((Path(__file__).parent / "probabilities.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def files(checkpoint: Path, qconv: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("types")
    types = ["f32", "q8_0", "q5_k_m", "q4_k_m"]
    made = qconv("convert", checkpoint, "--type", ",".join(types), "--output", directory)
    assert made.returncode == 0, made.stderr
    return dict(zip(types, map(Path, made.stdout.split()), strict=True))


def test_f32_has_the_probabilities_of_llama_cpps_own_file(files: dict[str, Path]) -> None:
    said = complete(files["f32"], probabilities=1024)
    assert RECORD["prompt"] == PROMPT
    assert said["prompt_tokens"] == RECORD["prompt_tokens"]
    assert [said["logprobs"][token] for token in range(1024)] == pytest.approx(RECORD["logprobs"], abs=2e-3)
    assert said["text"] == RECORD["text"]


@pytest.mark.parametrize(("type_", "off"), [("q8_0", 0.01), ("q5_k_m", 0.05), ("q4_k_m", 0.2)])
def test_quantized_files_load_and_complete_a_prompt(files: dict[str, Path], type_: str, off: float) -> None:
    said = complete(files[type_], probabilities=1024)
    assert said["prompt_tokens"] == RECORD["prompt_tokens"]
    assert said["completion_tokens"] == 8
    assert len(said["text"]) > 0
    divergence = sum(math.exp(p) * (p - said["logprobs"][token]) for token, p in enumerate(RECORD["logprobs"]))
    assert 0 < divergence < off


def test_a_split_file_loads(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    options = ["--type", "f32", "--split-max-size", "4MB", "--output", tmp_path]
    shards = qconv("convert", checkpoint, *options).stdout.split()
    assert len(shards) > 2
    assert complete(Path(shards[0]))["text"] == RECORD["text"]
