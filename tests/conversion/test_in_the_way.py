"""What others may have put where an output, its part file or its journal goes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from qconv.errors import OutputError
from qconv.options import RunOptions
from qconv.plan import Plan
from tests.conversion.fakes import Copy, Memory, Sketch, expected, plan, run

WEIGHTS = {"a": np.arange(64, dtype=np.float32).reshape(2, 32)}


def copied() -> Plan:
    return plan("x.gguf", [Sketch("a", Copy("a", (2, 32), "F32"), "F32")])


@pytest.mark.parametrize("name", ["x.gguf.part", "x.gguf.part.journal"])
@pytest.mark.parametrize("options", [RunOptions(), RunOptions(force=True), RunOptions(resume=False)])
def test_no_link_is_written_through(tmp_path: Path, name: str, options: RunOptions) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / name).symlink_to("victim")
    with pytest.raises(
        OutputError, match=rf"{name}: .*(a link or something else that is not a regular file|is there, and no)"
    ):
        run([copied()], Memory(WEIGHTS), [tmp_path], options)
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert not (tmp_path / "x.gguf").exists()


def test_a_part_file_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    part = tmp_path / "x.gguf.part"
    part.write_bytes(b"a browser's")
    with pytest.raises(OutputError, match=r"x\.gguf\.part: is there, and no journal of qconv's beside it"):
        run([copied()], Memory(WEIGHTS), [tmp_path])
    assert os.listdir(tmp_path) == [part.name]
    assert part.read_bytes() == b"a browser's"
    run([copied()], Memory(WEIGHTS), [tmp_path], RunOptions(resume=False))
    assert os.listdir(tmp_path) == ["x.gguf"]


def test_an_output_that_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.gguf")
    with pytest.raises(OutputError, match=r"x\.gguf: is not a regular file"):
        run([copied()], Memory(WEIGHTS), [tmp_path], RunOptions(force=True))
    assert (tmp_path / "x.gguf").is_fifo()


def test_a_link_is_an_output_that_exists_and_is_replaced_itself(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").symlink_to("elsewhere")
    with pytest.raises(OutputError, match="exists already"):
        run([copied()], Memory(WEIGHTS), [tmp_path])
    run([copied()], Memory(WEIGHTS), [tmp_path], RunOptions(force=True))
    assert not (tmp_path / "x.gguf").is_symlink()
    assert (tmp_path / "x.gguf").read_bytes() == expected(copied(), {"a": WEIGHTS["a"].tobytes()})[0]
    assert not (tmp_path / "elsewhere").exists()
