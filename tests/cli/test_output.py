"""Where ``convert`` writes to, and where it does not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.commands import Run, make_checkpoint


@pytest.mark.parametrize("name", ["out", "-", "model.bin"])
def test_a_file_is_named_as_one(checkpoint: Path, qconv: Run, tmp_path: Path, name: str) -> None:
    refused = qconv("convert", checkpoint, "--type", "q8_0", "--output", tmp_path / name)
    assert refused.returncode == 2
    assert f"{name}: --output: is neither a directory nor the name of a .gguf file" in refused.stderr
    assert os.listdir(tmp_path) == []


def test_two_sources_never_make_one_file(qconv: Run, tmp_path: Path) -> None:
    one, two = (make_checkpoint(tmp_path / n / "Noise", "--layers", "1") for n in ("1", "2"))
    made = qconv("convert", one, two, "--type", "q8_0", "--output", tmp_path, "--force")
    assert made.returncode == 1
    assert len(made.stdout.splitlines()) == 1
    assert f"is made from {one} by this very command" in made.stderr


def test_what_is_skipped_is_what_would_be_made(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    convert = ("convert", checkpoint, "--type", "q8_0", "--output", tmp_path, "--skip-existing")
    first = qconv(*convert)
    assert first.returncode == 0, first.stderr
    skipped = qconv(*convert, "--json")
    assert skipped.returncode == 0, skipped.stderr
    told = json.loads(skipped.stdout)
    assert (told["skipped"], told["source"], told["type"]) == (True, str(checkpoint), "Q8_0")
    other = qconv(*convert, "--override-kv", "general.name=str:Other")
    assert (other.returncode, other.stdout) == (1, "")
    assert "is of another model, of other options, or incomplete" in other.stderr
    Path(told["file"]).write_bytes(b"")
    assert qconv(*convert).returncode == 1


def test_a_shard_that_is_missing_is_named(qconv: Run, tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "Noise", "--layers", "1")
    convert = ("convert", source, "--type", "q8_0", "--split-max-size", "200K", "--skip-existing")
    shards = qconv(*convert).stdout.splitlines()
    assert len(shards) > 1
    for command in ("verify", "info"):  # any shard stands for all
        told = qconv(command, *shards, "--json")
        assert (told.returncode, len(told.stdout.splitlines())) == (0, 1)
    Path(shards[-1]).unlink()
    again = qconv(*convert)
    assert again.returncode == 1
    assert f"{shards[-1]}: is missing, though other files of this model are there" in again.stderr
