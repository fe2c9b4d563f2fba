import os
from pathlib import Path

import pytest

from qconv import checkpoints, gguf
from qconv.errors import FormatError
from tests.checkpoints import packing as p
from tests.hostile.safetensors_attacks import ATTACKS
from tests.hostile.work import MOST_CALLS, measured


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused_at_once(tmp_path: Path, attack: str) -> None:
    data, complaint = ATTACKS[attack]
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with measured() as work, pytest.raises(FormatError) as caught:
        checkpoints.open(path)
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)
    assert work.calls < MOST_CALLS
    assert work.memory < 20_000_000


def test_too_many_tensors_are_refused_before_they_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf.limits, "TENSORS", 3)
    path = tmp_path / "model.safetensors"
    record = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    path.write_bytes(p.file(dict.fromkeys("abc", record)))
    with checkpoints.open(path) as opened:
        assert len(opened.tensors) == 3
    path.write_bytes(p.file(dict.fromkeys("abcde", 5)))
    with pytest.raises(FormatError, match="has 5 tensors; at most 3 are read"):
        checkpoints.open(path)


def test_nothing_of_a_refused_file_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(p.file({"a": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}}, bytes(31)))
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        with pytest.raises(FormatError):
            checkpoints.open(path)
    assert len(os.listdir("/dev/fd")) == before
