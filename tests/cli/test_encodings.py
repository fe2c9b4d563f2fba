"""Text files beside the weights as Windows' editors save them: the same file comes out, and the encoding is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.commands import Run

NAMES = ("config.json", "tokenizer_config.json", "tokenizer.json", "README.md")


@pytest.fixture(scope="module")
def expected(checkpoint: Path, qconv: Run, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("expected") / "x.gguf"
    assert qconv("convert", checkpoint, "--type", "q8_0", "--output", file).returncode == 0
    return file.read_bytes()


@pytest.mark.parametrize(("encoding", "name"), [("utf-8-sig", "UTF-8"), ("utf-16", "UTF-16")])
def test_all_files_with_a_byte_order_mark(
    checkpoint: Path, expected: bytes, qconv: Run, tmp_path: Path, encoding: str, name: str
) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / checkpoint.name))
    for each in NAMES:
        (folder / each).write_bytes((folder / each).read_text("utf-8").encode(encoding))
    file = tmp_path / "x.gguf"
    made = qconv("convert", folder, "--type", "q8_0", "--output", file)
    assert made.returncode == 0, made.stderr
    assert file.read_bytes() == expected
    said = " ".join(made.stderr.split())
    for each in NAMES[:3]:
        assert f"warning: {each} begins with a byte-order mark ({name})" in said


def test_an_index_with_a_byte_order_mark(checkpoint: Path, qconv: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / checkpoint.name))
    index = folder / "model.safetensors.index.json"
    names = "embed_tokens"
    index.write_bytes(b"\xef\xbb\xbf" + b'{"weight_map": {"%s": "model.safetensors"}}' % names.encode())
    refused = qconv("convert", folder, "--type", "q8_0", "--dry-run")
    assert refused.returncode == 1
    assert "but not in the index" in " ".join(refused.stderr.split())  # which was read
