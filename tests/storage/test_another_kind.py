"""A whole conversion from storage that is not a disk, interrupted and resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

import qconv
from qconv import checkpoints, conversion, plan
from qconv.errors import InputError
from qconv.options import ConvertOptions, RunOptions
from qconv.pipeline import sizing
from tests.cli.commands import make_checkpoint
from tests.storage.memory import MemoryFolder


def convert(folder: MemoryFolder, output: Path) -> conversion.Result:
    options = ConvertOptions(types=("q8_0",), output=str(output))
    with checkpoints.open_from(folder) as checkpoint:
        plans = plan.make(checkpoint, options)
        where = [plan.directory(checkpoint, options)]
        (result,) = conversion.run(plans, checkpoint.files, where, RunOptions(threads=1))
    return result


def test_a_conversion_from_memory_is_interrupted_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "ROW_BLOCK", 1 << 14)
    source = make_checkpoint(tmp_path / "Noise")
    (whole,) = qconv.convert(source, "q8_0", output=tmp_path / "whole.gguf")
    reads = 0

    def fail_half_way() -> None:
        nonlocal reads
        reads += 1
        if reads == 20:
            raise InputError("the line is dead")

    output = tmp_path / "x.gguf"
    with pytest.raises(InputError, match="the line is dead"):
        convert(MemoryFolder.of(source, fail_half_way), output)
    assert not output.exists()
    result = convert(MemoryFolder.of(source), output)
    assert result.resumed > 0
    assert output.read_bytes() == whole.read_bytes()


def test_what_comes_from_elsewhere_goes_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = make_checkpoint(tmp_path / "Noise", "--layers", "1")
    with checkpoints.open_from(MemoryFolder.of(source)) as checkpoint:
        assert checkpoint.directory is None
        assert plan.directory(checkpoint, ConvertOptions(types=("q8_0",))) == tmp_path
