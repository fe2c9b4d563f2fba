"""The command line as a user meets it: a process with its own output streams, on a checkpoint made for the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import Run, environment, make_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoints") / "Noise-Instruct")


@pytest.fixture(scope="session")
def qconv() -> Run:
    """Runs ``qconv`` with arguments; output and error stream apart."""

    def run(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "qconv", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=env or environment(), timeout=300
        )

    return run


@pytest.fixture(scope="session")
def q8_0(checkpoint: Path, qconv: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint converted to Q8_0."""
    file = tmp_path_factory.mktemp("converted") / "noise-Q8_0.gguf"
    made = qconv("convert", checkpoint, "--type", "q8_0", "--output", file)
    assert made.returncode == 0, made.stderr
    return file
