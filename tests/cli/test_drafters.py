"""Drafters, which have the tokenizer of the model they draft for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.architectures.tiny import write
from tests.cli.commands import Run

TESTS = Path(__file__).parent.parent


def drafter(folder: Path, name: str) -> Path:
    golden = json.loads((TESTS / "architectures" / "goldens" / f"{name}.json").read_text("utf-8"))
    write(folder, golden["config"], golden["tensors"])
    (folder / "tokenizer.json").unlink()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A config and a tokenizer; of the target nothing else is read."""
    folder = tmp_path / "target"
    folder.mkdir()
    golden = json.loads((TESTS / "architectures" / "goldens" / "eagle3.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(golden["target"]))
    shutil.copy(TESTS / "tokenizers" / "cases" / "bpe-bare" / "tokenizer.json", folder)
    return folder


def test_eagle3_with_its_target(qconv: Run, tmp_path: Path, target: Path) -> None:
    out = tmp_path / "out.gguf"
    source = drafter(tmp_path / "eagle3", "eagle3")
    done = qconv("convert", source, "--target", target, "--pre", "gpt-2", "-t", "q8_0", "-o", out)
    assert done.returncode == 0, done.stderr
    made = gguf.GGUFReader(out)
    assert made.fields["eagle3.target_layers"].contents() == [2, 8, 13]  # of 16: an early, the middle, a late one
    assert len(made.fields["tokenizer.ggml.tokens"].contents()) == 288
    (table,) = (tensor for tensor in made.tensors if tensor.name == "d2t")
    assert table.tensor_type.name == "I64"
    # tiny weights count, and each number has its place added
    np.testing.assert_array_equal(table.data, 2 * np.arange(140))


def test_the_table_of_a_gguf_stays_integers(qconv: Run, tmp_path: Path, target: Path) -> None:
    source = drafter(tmp_path / "eagle3", "eagle3")
    first, second = tmp_path / "f16.gguf", tmp_path / "q8_0.gguf"
    done = qconv("convert", source, "--target", target, "--pre", "gpt-2", "-t", "f16", "-o", first)
    assert done.returncode == 0, done.stderr
    done = qconv("convert", first, "-t", "q8_0", "-o", second)
    assert done.returncode == 0, done.stderr
    (table,) = (tensor for tensor in gguf.GGUFReader(second).tensors if tensor.name == "d2t")
    assert table.tensor_type.name == "I64"
    np.testing.assert_array_equal(table.data, 2 * np.arange(140))


def test_dflash_has_a_mask(qconv: Run, tmp_path: Path, target: Path) -> None:
    out = tmp_path / "out.gguf"
    source = drafter(tmp_path / "dflash", "dflash")
    done = qconv("convert", source, "--target", target, "--pre", "gpt-2", "-t", "q8_0", "-o", out)
    assert done.returncode == 0, done.stderr
    assert gguf.GGUFReader(out).fields["tokenizer.ggml.mask_token_id"].contents() == 7


@pytest.mark.parametrize("name", ["eagle3", "dflash"])
def test_a_drafter_alone_is_told_what_it_lacks(qconv: Run, tmp_path: Path, name: str) -> None:
    done = qconv("convert", drafter(tmp_path / name, name), "-t", "q8_0")
    assert done.returncode == 2
    assert "is a drafter" in done.stderr
    assert "--target DIR" in done.stderr


def test_a_model_has_no_target(qconv: Run, tmp_path: Path, target: Path) -> None:
    golden = json.loads((TESTS / "architectures" / "goldens" / "qwen3vl.json").read_text("utf-8"))
    write(tmp_path / "model", golden["config"], golden["tensors"])
    done = qconv("convert", tmp_path / "model", "--target", target, "-t", "q8_0")
    assert done.returncode == 2
    assert "--target is for a drafter, and this is none" in done.stderr
