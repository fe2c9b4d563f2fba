"""Model cards: the front matter the Hub reads, the table, the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from qconv.errors import FormatError
from qconv.publish import CardOptions, card, read_evaluations
from qconv.storage import LocalFolder
from tests.cli.commands import Run, make_checkpoint

SOURCE_CARD = """---
license: other
license_name: acme-license
license_link: https://acme.example/license
language: [en, "no"]
pipeline_tag: text-generation
tags: [math, "a: b", gguf]
model-index: [{name: x}]
---
# Whatever
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    import qconv

    directory = tmp_path_factory.mktemp("card")
    source = make_checkpoint(directory / "Noise-Instruct", "--layers", "1")
    return qconv.convert(source, ["q8_0", "q4_k_m"], output=directory)


def front_matter(text: str) -> dict[str, Any]:
    _, front, _ = text.split("---\n", 2)
    loaded: dict[str, Any] = yaml.safe_load(front)
    return loaded


def test_the_sources_card_is_carried_over(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(SOURCE_CARD)
    text = card(files, LocalFolder(tmp_path), CardOptions(base_model="acme/Noise"))
    assert front_matter(text) == {
        "base_model": "acme/Noise",
        "base_model_relation": "quantized",
        "library_name": "gguf",
        "pipeline_tag": "text-generation",
        "license": "other",
        "license_name": "acme-license",
        "license_link": "https://acme.example/license",
        "language": ["en", "no"],
        "quantized_by": "qconv",
        "tags": ["gguf", "quantized", "math", "a: b"],
    }


def test_without_a_source_the_files_tell(files: list[Path]) -> None:
    text = card(files, None, CardOptions())
    front = front_matter(text)
    assert front["license"] == "mit"
    assert front["language"] == ["en"]
    assert "base_model" not in front
    lines = text.splitlines()
    assert "# Noise Instruct GGUF" in lines
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| Noise")]
    sizes = sorted(file.stat().st_size for file in files)
    assert [row[:3] for row in rows] == [
        ["Noise-1.0M-Instruct-Q4_K_M.gguf", "Q4_K_M", f"{sizes[0] / 1e6:.2f} MB"],
        ["Noise-1.0M-Instruct-Q8_0.gguf", "Q8_0", f"{sizes[1] / 1e6:.2f} MB"],
    ]
    assert "    llama-cli -m Noise-1.0M-Instruct-Q4_K_M.gguf" in lines
    assert "    qconv modelfile Noise-1.0M-Instruct-Q4_K_M.gguf" in lines


def test_what_evaluate_said_is_in_the_table(files: list[Path], tmp_path: Path) -> None:
    results = tmp_path / "cost.json"
    result = {"file": "elsewhere/Noise-1.0M-Instruct-Q8_0.gguf", "bytes": 1}
    result |= {"kl_divergence": {"mean": 0.01234567}, "perplexity": {"value": 7.5}}
    results.write_text(json.dumps(result) + "\n")
    text = card(files, None, CardOptions(evaluations=read_evaluations(results), plot="cost.png"))
    assert "| what for | KL divergence | perplexity |" in text
    assert "| 0.0123 | 7.5000 |" in text
    assert "![KL divergence by size](cost.png)" in text
    results.write_text("[1]\n")
    with pytest.raises(FormatError, match="line 1 is not a result of an evaluation"):
        read_evaluations(results)


def test_a_hostile_name_stays_text(files: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "README.md").write_text('---\nlicense: "mit\\nbase_model: evil/x"\ntags: ["|<script>"]\n---\n')
    text = card(files, LocalFolder(folder), CardOptions())
    assert "base_model" not in front_matter(text)
    assert "\nbase_model:" not in text


def test_the_command_writes_it_beside_the_files(files: list[Path], qconv: Run, tmp_path: Path) -> None:
    readme = files[0].with_name("README.md")
    made = qconv("card", *files, "--base-model", "acme/Noise", "--repo", "me/Noise-GGUF")
    assert made.returncode == 0, made.stderr
    assert made.stdout == f"{readme}\n"
    text = readme.read_text()
    assert "    llama-cli -hf me/Noise-GGUF:Q4_K_M\n" in text
    assert "    ollama run hf.co/me/Noise-GGUF:Q4_K_M\n" in text
    again = qconv("card", *files)
    assert again.returncode == 1
    assert "exists already (--force replaces it" in again.stderr
    assert readme.read_text() == text
    printed = qconv("card", *files, "--output", "-", "--base-model", "acme/Noise", "--repo", "me/Noise-GGUF")
    assert printed.stdout == text
    wrong = qconv("card", *files, "--repo", "me")
    assert wrong.returncode == 2


def test_modelfile_of_the_command_line(files: list[Path], qconv: Run) -> None:
    made = qconv("modelfile", files[0])
    assert made.returncode == 0, made.stderr
    place = files[0].with_name("Modelfile")
    assert made.stdout == f"{place}\n"
    assert place.read_text().startswith(f"FROM ./{files[0].name}\n")
