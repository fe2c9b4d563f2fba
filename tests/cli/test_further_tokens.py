"""``--mtp``: a file without layers that predict further tokens, or of them alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import pytest

from tests.architectures.tiny import write
from tests.cli.commands import Run, make_checkpoint

TESTS = Path(__file__).parent.parent


def golden(name: str) -> dict[str, Any]:
    """What llama.cpp's converter makes with --mtp (``-mtp-only``) and --no-mtp (``-no-mtp``)."""
    read: dict[str, Any] = json.loads((TESTS / "architectures" / "goldens" / f"{name}.json").read_text("utf-8"))
    return read


def checkpoint(folder: Path, name: str) -> Path:
    recorded = golden(name)
    write(folder, recorded["config"], recorded["tensors"])
    shutil.copy(TESTS / "tokenizers" / "cases" / "bpe-bare" / "tokenizer.json", folder)
    return folder


@pytest.mark.parametrize(
    ("mtp", "name", "start"),
    [("only", "qwen35-mtp-only", "mtp-qwen35-bf16"), ("none", "qwen35-no-mtp", "qwen35-2.7m-bf16")],
)
def test_files_are_llama_cpps(qconv: Run, tmp_path: Path, mtp: str, name: str, start: str) -> None:
    folder = checkpoint(tmp_path / "qwen35", name)
    done = qconv("convert", folder, "--type", "bf16", "--mtp", mtp, "--pre", "gpt-2", "--manifest")
    assert done.returncode == 0, done.stderr
    (out,) = folder.glob("*.gguf")
    assert out.name.lower().startswith(start)
    made, expected = gguf.GGUFReader(out), golden(name)["expected"]
    tensors = [
        [t.name, t.tensor_type.name, t.shape.tolist()[::-1], hashlib.sha256(t.data.tobytes()).hexdigest()]
        for t in made.tensors
    ]
    assert tensors == expected["tensors"]
    assert made.fields["qwen35.block_count"].contents() == (5 if mtp == "only" else 4)
    assert ("qwen35.nextn_predict_layers" in made.fields) == (mtp == "only")
    checked = qconv("verify", out, "--against", folder)  # the manifest says which layers
    assert checked.returncode == 0, checked.stderr


def test_what_is_left_out_is_told(qconv: Run, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "glm", "glm4moe-no-mtp")
    shown = qconv("convert", folder, "--type", "q8_0", "--mtp", "none", "--pre", "gpt-2", "--dry-run", "--json")
    assert shown.returncode == 0, shown.stderr
    assert "blk.0.attn_q.weight" in shown.stdout
    assert "nextn" not in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--mtp", "half"], 2, "'half' is not one of 'keep', 'only', 'none'"),
        (["--mtp", "only"], 1, "--mtp only is not possible for llama"),
        (["--mtp", "none"], 1, "--mtp none is not possible for llama"),
    ],
)
def test_refusals(qconv: Run, tmp_path: Path, arguments: list[str], code: int, says: str) -> None:
    refused = qconv("convert", make_checkpoint(tmp_path / "model"), "--type", "q8_0", *arguments)
    assert refused.returncode == code
    assert says in " ".join(refused.stderr.split())


def test_a_model_without_such_layers(qconv: Run, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "glm", "glm4moe-new")
    refused = qconv("convert", folder, "--type", "q8_0", "--mtp", "only")
    assert refused.returncode == 1
    assert "has no layers that predict further tokens" in refused.stderr


def test_a_gguf_file_is_as_it_is(qconv: Run, tmp_path: Path) -> None:
    made = tmp_path / "f16.gguf"
    assert qconv("convert", make_checkpoint(tmp_path / "model"), "--type", "f16", "-o", made).returncode == 0
    refused = qconv("convert", made, "--type", "q8_0", "--mtp", "none", "-o", tmp_path / "out.gguf")
    assert refused.returncode == 2
    assert "--mtp none is for a model with a config.json" in refused.stderr
