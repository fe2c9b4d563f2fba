"""The README's recipes for several processes and machines, as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import ROOT, Run, environment, make_checkpoint

README = (ROOT / "README.md").read_text(encoding="utf-8").replace("q4_k_m", "f16")  # which needs nothing compiled


@pytest.fixture(scope="module")
def whole(qconv: Run, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    source = make_checkpoint(tmp_path_factory.mktemp("whole") / "model", "--hidden", "512", "--ffn", "2048")
    made = qconv("convert", source, "--type", "f16")
    return Path(made.stdout.strip()).read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a user stands: a checkpoint called ``model`` and ``qconv`` on the path."""
    make_checkpoint(tmp_path / "model", "--hidden", "512", "--ffn", "2048")
    return tmp_path


def run(command: list[str], folder: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, cwd=folder, env=environment(PATH=path), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def result(folder: Path) -> bytes:
    (file,) = (folder / "model").glob("*.gguf*")
    assert file.suffix == ".gguf"
    return file.read_bytes()


def test_xargs(folder: Path, whole: bytes) -> None:
    (line,) = re.findall(r"^ {4}(seq .*)$", README, re.MULTILINE)
    run(["sh", "-c", line], folder)
    run(["qconv", "convert", "model/", "--type", "f16", "--finish"], folder)
    assert result(folder) == whole


def test_dask(folder: Path, whole: bytes) -> None:
    (program,) = re.findall(r"```python\n(import subprocess\nfrom dask.*?)```", README, re.DOTALL)
    assert program.count('Client("scheduler:8786")') == 1
    here = "Client(n_workers=2, threads_per_worker=1, dashboard_address=None)"
    script = folder / "recipe.py"
    script.write_text(program.replace('Client("scheduler:8786")', here), encoding="utf-8")
    run([sys.executable, "recipe.py"], folder)
    assert result(folder) == whole
