"""Compiling beforehand, and what ``--version --verbose`` tells."""

from __future__ import annotations

import json
from pathlib import Path

from qconv import __version__
from tests.cli.commands import Run, environment


def compiled(directory: Path) -> dict[Path, int]:
    """Files of compiled code, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.suffix in (".nbi", ".nbc")}


def test_what_is_warmed_up_need_not_be_compiled(qconv: Run, checkpoint: Path, tmp_path: Path) -> None:
    env = environment(NUMBA_CACHE_DIR=str(tmp_path / "kernels"))
    warmed = qconv("warm-up", "q8_0", "--json", env=env)
    assert warmed.returncode == 0, warmed.stderr
    told = json.loads(warmed.stdout)
    assert told["directory"] == str(tmp_path / "kernels")
    before = compiled(tmp_path / "kernels")
    assert len(before) >= 2
    made = qconv("convert", checkpoint, "-t", "q8_0", "-o", tmp_path / "x.gguf", env=env)
    assert made.returncode == 0, made.stderr
    assert compiled(tmp_path / "kernels") == before


def test_version(qconv: Run, tmp_path: Path) -> None:
    assert qconv("--version").stdout == f"qconv {__version__}\n"
    told = qconv("--version", "--verbose", env=environment(NUMBA_CACHE_DIR=str(tmp_path / "kernels")))
    lines = dict(line.split(None, 1) for line in told.stdout.splitlines())
    assert lines["qconv"] == __version__
    assert lines["kernels"] == f"{tmp_path / 'kernels'} (0 files, 0 B)"
    assert lines["processor"].endswith(" lanes")
    assert qconv("--verbose", "--version").stdout == qconv("--version", "--verbose").stdout


def test_a_type_that_is_none(qconv: Run) -> None:
    told = qconv("warm-up", "q9_k")
    assert told.returncode == 2
    assert "unknown type 'q9_k'" in told.stderr


def test_no_command(qconv: Run) -> None:
    told = qconv("--verbose")
    assert told.returncode == 2
    assert told.stderr == "qconv: error: no command is named (see qconv --help)\n"
