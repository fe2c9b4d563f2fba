"""A checkpoint whose tensors keep types of their own: DeepSeek V4's experts in MXFP4, its 8-bit floats, its tables."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import gguf
import pytest

from tests.architectures.tiny import write
from tests.cli.commands import Run

TESTS = Path(__file__).parent.parent
GOLDEN = json.loads((TESTS / "architectures" / "goldens" / "deepseek4.json").read_text("utf-8"))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "v4"
    write(folder, GOLDEN["config"], GOLDEN["tensors"])
    shutil.copy(TESTS / "tokenizers" / "cases" / "bpe-bare" / "tokenizer.json", folder)
    return folder


def convert(qconv: Run, checkpoint: Path, kind: str) -> gguf.GGUFReader:
    out = checkpoint.with_name(f"{kind}.gguf")
    done = qconv("convert", checkpoint, "--type", kind, "--pre", "gpt-2", "-o", out)
    assert done.returncode == 0, done.stderr
    return gguf.GGUFReader(out)


def test_a_float_file_is_llama_cpps(qconv: Run, checkpoint: Path) -> None:
    """Its converter makes Q8_0 of 8-bit floats, whatever it is asked for, and marks the file by its experts."""
    made = convert(qconv, checkpoint, "bf16")
    tensors = [
        [t.name, t.tensor_type.name, t.shape.tolist()[::-1], hashlib.sha256(t.data.tobytes()).hexdigest()]
        for t in made.tensors
    ]
    assert tensors == GOLDEN["expected"]["tensors"]
    assert made.fields["general.file_type"].contents() == 38  # llama.cpp's MOSTLY_MXFP4_MOE


def test_blocks_are_not_quantized_again(qconv: Run, checkpoint: Path) -> None:
    made = convert(qconv, checkpoint, "q4_k_m")
    before = {name: kind for name, kind, _, _ in GOLDEN["expected"]["tensors"]}
    after = {t.name: t.tensor_type.name for t in made.tensors}
    assert {n: k for n, k in after.items() if before[n] in ("MXFP4", "Q8_0", "I32")} == {
        n: k for n, k in before.items() if k in ("MXFP4", "Q8_0", "I32")
    }
    assert Counter(after.values())["Q4_K"] > 0
