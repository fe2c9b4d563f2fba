"""``qconv info``: what it tells, and that it tells it from headers, quickly."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.cli.commands import Run, environment


@pytest.fixture(scope="module")
def file(checkpoint: Path, qconv: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = qconv("convert", checkpoint, "--type", "f16", "--output", tmp_path_factory.mktemp("info") / "noise.gguf")
    return Path(made.stdout.strip())


def table(text: str) -> dict[str, str]:
    """The lines before the first empty one, as names and values."""
    lines = text.partition("\n\n")[0].splitlines()
    return {line[:17].strip(): line[17:] for line in lines}


def test_what_it_tells_of_a_gguf_file(file: Path, qconv: Run) -> None:
    shown = qconv("info", file)
    assert (shown.returncode, shown.stderr) == (0, "")
    told = table(shown.stdout)
    assert told["name"] == "Noise Instruct"
    assert told["architecture"] == "llama"
    assert told["parameters"] == "3.41 M in 39 tensors"
    assert told["context"] == "131,072"
    assert told["vocabulary"] == "1,024"
    assert told["file type"] == "F16"
    assert told["bits per weight"] == "16.01"
    # 4 layers, 2 key-value heads of 64 + 64 numbers in two bytes: 2 KiB a token
    assert "memory to run it at a context of 4,096\n  weights  6.51 MiB\n  cache    8.00 MiB\n" in shown.stdout
    assert "32,768\n  weights  6.51 MiB\n  cache    64.0 MiB\n" in qconv("info", file, "--context", "32768").stdout


def test_the_same_of_a_checkpoint(checkpoint: Path, qconv: Run) -> None:
    told = table(qconv("info", checkpoint).stdout)
    assert told["architecture"] == "llama"
    assert told["parameters"] == "3.41 M in 38 tensors"
    assert told["vocabulary"] == "1,024"
    alone = qconv("info", checkpoint / "model.safetensors")
    assert alone.returncode == 0


def test_what_sizes_add_up_to(file: Path, qconv: Run) -> None:
    told = json.loads(qconv("info", file, "--json", "--tensors", "--metadata").stdout)
    assert told["size"] == file.stat().st_size
    assert {row["name"]: row["tensors"] for row in told["types"]} == {"F16": 29, "F32": 10}
    assert sum(row["size"] for row in told["types"]) == sum(t["bytes"] for t in told["tensors"])
    assert told["metadata"]["llama.block_count"] == 4
    assert told["metadata"]["tokenizer.ggml.tokens"]["length"] == 1024
    assert told["memory"]["total"] == told["memory"]["weights"] + told["memory"]["cache"]


def test_long_arrays_are_cut(file: Path, qconv: Run) -> None:
    shown = qconv("info", file, "--metadata").stdout
    line = next(line for line in shown.splitlines() if line.startswith("tokenizer.ggml.tokens"))
    assert "string[1024]" in line
    assert line.endswith(", …]")
    assert max(map(len, shown.splitlines())) < 160


@pytest.mark.parametrize("options", [[], ["--tensors"]])
def test_it_fits_80_columns_without_colours(file: Path, qconv: Run, options: list[str]) -> None:
    shown = qconv("info", file, *options)
    lines = [line for line in shown.stdout.splitlines() if not line.startswith("file ")]
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in shown.stdout
    assert all(line == line.rstrip() for line in lines)


def test_one_path_that_is_missing_does_not_stop_the_rest(file: Path, qconv: Run, tmp_path: Path) -> None:
    missing = tmp_path / "nothing.gguf"
    shown = qconv("info", file, missing, file)
    assert shown.returncode == 1
    assert shown.stdout.count("bits per weight") == 2
    assert shown.stderr == f"qconv: error: {missing}: does not exist\n"
    first, second = map(json.loads, qconv("info", missing, file, "--json").stdout.splitlines())
    assert first["error"]["file"] == str(missing)
    assert second["path"] == str(file)
    alone = qconv("info", missing)
    assert (alone.returncode, alone.stdout, alone.stderr) == (1, "", shown.stderr)


def test_a_directory_is_called_by_its_whole_name(qconv: Run, tmp_path: Path) -> None:
    folder = tmp_path / "Noise-3.2-1B"
    folder.mkdir()
    save_file({"w": np.ones(1, np.float32)}, folder / "model.v1.safetensors")
    assert table(qconv("info", folder).stdout)["name"] == "Noise-3.2-1B"
    assert table(qconv("info", folder / "model.v1.safetensors").stdout)["name"] == "model.v1"


def test_json_has_null_for_what_is_no_number(qconv: Run, tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_float32("x.nan", math.nan)
    writer.add_float64("x.infinite", -math.inf)
    writer.add_array("x.array", [1.5, math.inf])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    told = qconv("info", file, "--json", "--metadata")
    assert told.returncode == 0, told.stderr
    metadata = json.loads(told.stdout, parse_constant=pytest.fail)["metadata"]
    assert (metadata["x.nan"], metadata["x.infinite"], metadata["x.array"]["first"]) == (None, None, [1.5, None])
    assert "-inf" in qconv("info", file, "--metadata").stdout


def test_nothing_heavy_is_imported(file: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "qconv", "info", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    for module in ("numba", "tokenizers", "sentencepiece", "google.protobuf", "yaml", "tqdm", "pydantic", "rich"):
        assert f" {module}\n" not in run.stderr, module
