"""``qconv convert``: what goes where, exit codes, and what the user is told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from safetensors.numpy import save_file

from qconv import gguf
from tests.cli.commands import Run, environment, make_checkpoint


def test_standard_output_is_the_path_and_nothing_else(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    made = qconv("convert", checkpoint, "--type", "bf16", "--output", tmp_path)
    assert made.returncode == 0, made.stderr
    assert made.stdout == f"{tmp_path / 'Noise-3.4M-Instruct-BF16.gguf'}\n"
    assert "39 tensors" in made.stderr
    assert "16.01 bits per weight" in made.stderr
    assert "\x1b" not in made.stderr
    assert "\r" not in made.stderr
    assert os.listdir(tmp_path) == ["Noise-3.4M-Instruct-BF16.gguf"]


def test_a_shell_takes_the_path(checkpoint: Path, tmp_path: Path) -> None:
    script = 'f=$("$0" -m qconv convert "$1" --type F16 --quiet --output "$2"/x.gguf) && test -s "$f" && echo "got $f"'
    shell = ["sh", "-c", script, sys.executable, str(checkpoint), str(tmp_path)]
    run = subprocess.run(shell, capture_output=True, text=True, env=environment())
    assert (run.returncode, run.stdout, run.stderr) == (0, f"got {tmp_path}/x.gguf\n", "")


def test_several_types_are_one_line_each_in_order(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    made = qconv("convert", checkpoint, "-t", "F32,bf16", "-t", "f16", "-o", tmp_path)
    assert [Path(line).name.rpartition("-")[2] for line in made.stdout.split()] == ["F32.gguf", "BF16.gguf", "F16.gguf"]


def test_json_has_an_object_for_every_file(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    made = qconv("convert", checkpoint, "--type", "bf16,f32", "--output", tmp_path, "--json")
    first, second = map(json.loads, made.stdout.splitlines())
    assert first["file"] == str(tmp_path / "Noise-3.4M-Instruct-BF16.gguf")
    assert first["bytes"] == Path(first["file"]).stat().st_size
    assert (first["type"], first["complete"], first["fallbacks"]) == ("BF16", True, [])
    assert second["weights"] == first["weights"] == 3_410_208


def test_an_output_that_exists_is_kept(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_text("mine")
    refused = qconv("convert", checkpoint, "--type", "bf16", "--output", file)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "--force" in refused.stderr
    assert refused.stderr.count("error") == 1
    assert file.read_text() == "mine"

    other = qconv("convert", checkpoint, "--type", "bf16", "--output", file, "--skip-existing")
    assert (other.returncode, other.stdout) == (1, "")
    assert file.read_text() == "mine"

    forced = qconv("convert", checkpoint, "--type", "bf16", "--output", file, "--force")
    assert (forced.returncode, forced.stdout) == (0, f"{file}\n")
    assert file.read_bytes()[:4] == b"GGUF"

    skipped = qconv("convert", checkpoint, "--type", "bf16", "--output", file, "--skip-existing")
    assert (skipped.returncode, skipped.stdout) == (0, f"{file}\n")


def test_of_several_types_only_the_missing_are_made(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    qconv("convert", checkpoint, "--type", "bf16", "--output", tmp_path)
    before = (tmp_path / "Noise-3.4M-Instruct-BF16.gguf").stat().st_mtime_ns
    both = qconv("convert", checkpoint, "--type", "bf16,f16", "--output", tmp_path, "--skip-existing", "--json")
    assert [json.loads(line)["skipped"] for line in both.stdout.splitlines()] == [True, False]
    assert (tmp_path / "Noise-3.4M-Instruct-BF16.gguf").stat().st_mtime_ns == before
    assert (tmp_path / "Noise-3.4M-Instruct-F16.gguf").exists()


def test_an_unknown_type_names_the_nearest(checkpoint: Path, qconv: Run) -> None:
    refused = qconv("convert", checkpoint, "--type", "q4_km")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "unknown type 'q4_km'" in refused.stderr
    assert refused.stderr.index("q4_k_m,") < refused.stderr.index("q8_0")
    assert refused.stderr.count("\n") == 1


def test_one_source_that_fails_does_not_stop_the_rest(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\0" * 7)
    made = qconv("convert", broken, tmp_path / "missing", checkpoint, "--type", "bf16", "--output", tmp_path, "--json")
    assert made.returncode == 1
    first, second, third = map(json.loads, made.stdout.splitlines())
    assert first["error"]["file"] == str(broken)
    assert first["error"]["code"] == "format"
    assert second["error"]["file"] == str(tmp_path / "missing")
    assert second["error"]["code"] == "input"
    assert Path(third["file"]).exists()
    assert "Traceback" not in made.stderr
    assert made.stderr.count("qconv: error: ") == 2


def test_a_weight_that_is_no_number_is_found_among_several_sources(qconv: Run, tmp_path: Path) -> None:
    weights = np.ones((4, 32), np.float32)
    weights[2, 5] = np.nan
    damaged = tmp_path / "damaged.safetensors"
    save_file({"w.weight": weights}, damaged)
    save_file({"w.weight": np.ones((4, 32), np.float32)}, tmp_path / "sound.safetensors")
    done = qconv("convert", damaged, tmp_path / "sound.safetensors", "--type", "q8_0", "--output", tmp_path)
    assert done.returncode == 1
    assert f"qconv: error: {damaged}, tensor 'w.weight': row 2, column 5 is NaN or infinite" in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_a_traceback_only_when_asked_for(qconv: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\0" * 7)
    assert "Traceback" not in qconv("convert", broken, "--type", "bf16").stderr
    assert "Traceback" in qconv("convert", broken, "--type", "bf16", "--debug").stderr


def test_names_of_files_are_printed_escaped(qconv: Run, tmp_path: Path) -> None:
    file = tmp_path / "a\x1b[31mred\nname.safetensors"
    file.write_bytes(b"\0" * 7)
    for extra in ([], ["--json"]):
        refused = qconv("convert", file, "--type", "bf16", *extra)
        assert refused.returncode == 1
        assert "\x1b" not in refused.stdout + refused.stderr
        assert refused.stderr.count("\n") == 1


def test_options_that_are_values_of_others_change_nothing(qconv: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\0" * 7)
    refused = qconv("convert", broken, "--type", "bf16", "--arch", "--json", "--include-weights", "--debug")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.count("\n") == 1


def test_dry_run_escapes_names(qconv: Run, tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "Noise", "--layers", "1")
    _add_left_out(source, "vision_tower.a\x1b[2J\nb\x9b\u202e")
    shown = qconv("convert", source, "--type", "q8_0", "--output", tmp_path / "x\x1b[2J.gguf", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "vision_tower.a\\x1b[2J\\nb\\x9b\\u202e" in shown.stdout
    assert shown.stdout.splitlines()[-1].startswith("x\\x1b[2J.gguf: ")
    assert all(line.isprintable() for line in (shown.stdout + shown.stderr).split("\n"))


def test_dry_run_shows_the_exact_size_and_writes_nothing(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    shown = qconv("convert", checkpoint, "--type", "q4_k_m", "--output", tmp_path, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert os.listdir(tmp_path) == []
    lines = shown.stdout.splitlines()
    assert lines[0].split() == ["tensor", "shape", "from", "to", "why", "bytes"]
    embedding = next(line for line in lines if line.startswith("token_embd.weight"))
    assert embedding.split()[1:6] == ["1024", "x", "256", "BF16", "Q6_K"]
    assert embedding.split()[-1] == "215,040"
    # 2,148,992 bytes is what llama.cpp's converter and quantizer make of this checkpoint
    assert lines[-1] == "Noise-3.4M-Instruct-Q4_K_M.gguf: 2,148,992 bytes (2.05 MiB)"


def test_dry_run_as_json(checkpoint: Path, qconv: Run) -> None:
    plan = json.loads(qconv("convert", checkpoint, "--type", "q4_k_m", "--dry-run", "--json").stdout)
    assert plan["files"] == [{"name": "Noise-3.4M-Instruct-Q4_K_M.gguf", "bytes": 2_148_992}]
    assert len(plan["tensors"]) == 39
    assert all(t["why"] for t in plan["tensors"])


def test_tensors_that_fall_back_are_named_or_refused(qconv: Run, tmp_path: Path) -> None:
    odd = make_checkpoint(tmp_path / "odd", "--hidden", "128", "--ffn", "384", "--layers", "1")
    shown = qconv("convert", odd, "--type", "q4_k_m", "--dry-run")
    assert shown.returncode == 0
    assert "fell back" in shown.stderr
    assert "blk.0.attn_q.weight Q4_K to Q5_0" in shown.stderr
    strict = qconv("convert", odd, "--type", "q4_k_m", "--dry-run", "--strict")
    assert (strict.returncode, strict.stdout) == (1, "")
    assert "do not fit" in strict.stderr


def test_what_is_left_out_is_said_before(qconv: Run, tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "Noise", "--layers", "1")
    _add_left_out(source, "vision_tower.0.bias", "vision_tower.1.bias")
    made = qconv("convert", source, "--type", "q8_0", "--output", tmp_path)
    assert made.returncode == 0, made.stderr
    why = "belongs to another part of a multimodal model than its text model"
    assert f"left out, {why}: vision_tower.0.bias, and 1 more\n" in made.stderr


def _add_left_out(source: Path, *names: str) -> None:
    """Two numbers more for each name in the weights of a checkpoint."""
    weights = source / "model.safetensors"
    data = weights.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    for name in names:
        end = len(data) - start
        header[name] = {"dtype": "F32", "shape": [2], "data_offsets": [end, end + 8]}
        data += b"\0" * 8
    text = json.dumps(header).encode()
    weights.write_bytes(len(text).to_bytes(8, "little") + text + data[start:])


def test_shards_and_a_single_file_hold_the_same(qconv: Run, tmp_path: Path) -> None:
    single, sharded = (make_checkpoint(tmp_path / n / "Noise", "--shards", n) for n in ("1", "3"))
    index = sharded / "model.safetensors.index.json"
    held = []
    for number, source in enumerate((single, sharded, index)):
        file = tmp_path / f"{number}.gguf"
        assert qconv("convert", source, "--type", "f16", "--output", file).returncode == 0
        held.append({t.name: (t.tensor_type, t.data.tobytes()) for t in GGUFReader(file).tensors})
    assert held[0] == held[1] == held[2]


def test_a_lone_file_keeps_its_names_and_says_so(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    lone = tmp_path / "lone.safetensors"
    shutil.copy(checkpoint / "model.safetensors", lone)
    made = qconv("convert", lone, "--type", "f16")
    assert made.stdout == f"{tmp_path / 'lone-F16.gguf'}\n"
    assert "warning" in made.stderr
    tensors = qconv("info", tmp_path / "lone-F16.gguf", "--tensors").stdout
    assert "model.layers.0.self_attn.q_proj.weight" in tensors


def test_gguf_to_gguf(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    first = qconv("convert", checkpoint, "--type", "f32", "--output", tmp_path / "f32.gguf").stdout.strip()
    direct = qconv("convert", checkpoint, "--type", "q4_k_m", "--output", tmp_path / "direct.gguf").stdout.strip()
    again = qconv("convert", first, "--type", "q4_k_m", "--output", tmp_path / "again.gguf").stdout.strip()
    assert Path(again).read_bytes() == Path(direct).read_bytes()
    refused = qconv("convert", again, "--type", "q5_k_m", "--output", tmp_path / "third.gguf")
    assert refused.returncode == 1
    assert "--allow-requantize" in refused.stderr


def test_quantizing_again_starts_from_what_the_blocks_stand_for(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    first = qconv("convert", checkpoint, "--type", "q8_0", "--output", tmp_path / "q8_0.gguf").stdout.strip()
    options = ("--allow-requantize", "--output", tmp_path)
    made = qconv("convert", first, "--type", "f32,q4_k_m,q8_0", *options)
    plain, small, copy = (gguf.read(Path(path)) for path in made.stdout.split())
    blocks = gguf.read(Path(first))
    name = "blk.0.ffn_up.weight"
    stored = _bytes(blocks, name)
    assert _bytes(copy, name) == stored
    fields = np.frombuffer(stored, np.dtype([("scale", "<f2"), ("weights", "i1", 32)]))
    weights = fields["scale"].astype(np.float32)[:, None] * fields["weights"]
    assert np.array_equal(np.frombuffer(_bytes(plain, name), np.float32).reshape(weights.shape), weights)
    direct = qconv("convert", plain.path, "--type", "q4_k_m", "--output", tmp_path / "direct.gguf").stdout.strip()
    assert Path(direct).read_bytes() == small.path.read_bytes()
    assert " Q8_0  Q4_K " in qconv("convert", first, "-t", "q4_k_m", "--allow-requantize", "--dry-run").stdout


def _bytes(file: gguf.File, name: str) -> bytes:
    tensor = file.tensors[name]
    return file.path.read_bytes()[tensor.offset : tensor.offset + tensor.size]


@pytest.mark.parametrize("reader", ["head -c 1 >/dev/null", "true"])
def test_a_reader_that_leaves_is_no_error(checkpoint: Path, reader: str) -> None:
    script = f'"$0" -m qconv convert "$1" --type q4_k_m --dry-run | {reader}'
    run = subprocess.run(
        ["sh", "-c", script, sys.executable, str(checkpoint)], capture_output=True, text=True, env=environment()
    )
    assert run.stderr == ""


def test_a_dry_run_imports_nothing_it_has_no_use_for(checkpoint: Path) -> None:
    options = ["convert", str(checkpoint), "-t", "q4_k_m", "--dry-run"]
    command = [sys.executable, "-X", "importtime", "-m", "qconv", *options]
    run = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    for module in ("numba", "llvmlite", "pydantic", "rich"):
        assert f" {module}\n" not in run.stderr, module
