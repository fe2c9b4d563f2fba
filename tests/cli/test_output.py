"""Where ``convert`` writes to, and where it does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.commands import Run


@pytest.mark.parametrize("name", ["out", "-", "model.bin"])
def test_a_file_is_named_as_one(checkpoint: Path, qconv: Run, tmp_path: Path, name: str) -> None:
    refused = qconv("convert", checkpoint, "--type", "q8_0", "--output", tmp_path / name)
    assert refused.returncode == 2
    assert f"{name}: --output: is neither a directory nor the name of a .gguf file" in refused.stderr
    assert os.listdir(tmp_path) == []
