"""``qconv verify``: files that are whole, and files that are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.commands import Run, make_checkpoint


@pytest.fixture
def file(checkpoint: Path, qconv: Run, tmp_path: Path) -> Path:
    """Made with options that only its manifest knows, and damaged at will."""
    options = [
        "--type",
        "bf16",
        "--override-kv",
        "general.author=str:me",
        "--manifest",
        "--output",
        tmp_path / "x.gguf",
    ]
    made = qconv("convert", checkpoint, *options)
    assert made.returncode == 0, made.stderr
    return Path(made.stdout.strip())


def damage(file: Path, offset: int) -> None:
    with file.open("r+b") as f:
        f.seek(offset)
        byte = f.read(1)
        f.seek(offset)
        f.write(bytes([byte[0] ^ 1]))


def test_a_whole_file(file: Path, qconv: Run) -> None:
    checked = qconv("verify", file)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == f"{file}: 39 tensors, 6.51 MiB, all well, and as its manifest says\n"
    assert qconv("verify", file, "--quiet").stdout == ""


def test_one_bit_that_is_wrong(file: Path, qconv: Run) -> None:
    damage(file, file.stat().st_size - 100_000)
    checked = qconv("verify", file, "--json")
    assert checked.returncode == 1
    report = json.loads(checked.stdout)
    assert not report["ok"]
    assert len(report["problems"]) == 1
    assert report["problems"][0]["tensor"].startswith("blk.3.")


def test_against_its_source_with_the_options_of_the_manifest(checkpoint: Path, file: Path, qconv: Run) -> None:
    assert qconv("verify", file, "--against", checkpoint).returncode == 0
    damage(file, file.stat().st_size - 100_000)
    damaged = qconv("verify", file, "--against", checkpoint)
    assert damaged.returncode == 1
    assert "1 of" in damaged.stdout
    assert "rows differ" in damaged.stdout
    assert "manifest" not in damaged.stderr


def test_without_a_manifest_the_type_is_taken_from_the_file(checkpoint: Path, file: Path, qconv: Run) -> None:
    file.with_name("x.gguf.json").unlink()
    verified = qconv("verify", file, "--against", checkpoint)
    assert verified.returncode == 1
    assert verified.stdout == f"{file}: the metadata differ (`qconv compare` shows how)\n"
    assert "no manifest tells" in verified.stderr


def test_against_another_source(file: Path, qconv: Run, tmp_path: Path) -> None:
    other = make_checkpoint(tmp_path / "other" / "Noise-Instruct", "--seed", "2")
    verified = qconv("verify", file, "--against", other)
    assert verified.returncode == 1
    assert "token_embd.weight" in verified.stdout


def test_a_file_cut_short(file: Path, qconv: Run) -> None:
    file.write_bytes(file.read_bytes()[:200_000])
    verified = qconv("verify", file)
    assert (verified.returncode, verified.stdout) == (1, "")
    assert verified.stderr.startswith(f"qconv: error: {file}")


def test_a_file_requantized_needs_no_manifest(q8_0: Path, qconv: Run, tmp_path: Path) -> None:
    file = tmp_path / "again.gguf"
    made = qconv("convert", q8_0, "--type", "q4_0", "--allow-requantize", "--output", file)
    assert made.returncode == 0, made.stderr
    checked = qconv("verify", file, "--against", q8_0)
    assert checked.returncode == 0, checked.stderr
    assert "all well" in checked.stdout
