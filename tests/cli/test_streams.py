"""Standard streams that are closed, or cannot show every character."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import Run, environment


def shell(script: str, *arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[bytes]:
    command = ["sh", "-c", script, sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env=environment(**extra), stdin=subprocess.DEVNULL)


def test_no_standard_error(checkpoint: Path, tmp_path: Path) -> None:
    run = shell('"$0" -m qconv convert "$1" --type f16 --output "$2" 2>&-', checkpoint, tmp_path / "x.gguf")
    assert (run.returncode, run.stdout) == (0, f"{tmp_path / 'x.gguf'}\n".encode())


def test_no_standard_output(checkpoint: Path, tmp_path: Path) -> None:
    run = shell('"$0" -m qconv convert "$1" --type f16 --output "$2" -q >&-', checkpoint, tmp_path / "x.gguf")
    assert (run.returncode, run.stderr) == (0, b"")
    assert (tmp_path / "x.gguf").exists()


@pytest.mark.parametrize("options", [["--json"], ["-q"], ["-n"], ["-n", "--json"]])
def test_standard_output_that_takes_nothing(checkpoint: Path, tmp_path: Path, options: list[str]) -> None:
    script = '"$0" -m qconv convert "$@" 1</dev/null'
    run = shell(script, checkpoint, "--type", "f16", "--output", tmp_path / "x.gguf", "--progress", "none", *options)
    *notes, said = run.stderr.decode().splitlines()
    assert run.returncode == 1
    assert said == "qconv: error: standard output: cannot be written: Bad file descriptor"
    assert not [note for note in notes if "error" in note or "Traceback" in note]
    assert (tmp_path / "x.gguf").exists() == ("-n" not in options)


def test_an_error_is_told_where_standard_output_takes_nothing_or_nobody_reads_it(tmp_path: Path) -> None:
    missing = tmp_path / "none.gguf"
    for script in ('"$0" -m qconv verify "$1" --json 1</dev/null', '"$0" -m qconv verify "$1" --json | true'):
        run = shell(script, missing)
        assert f"qconv: error: {missing}: " in run.stderr.decode()
        assert b"Traceback" not in run.stderr


def test_characters_the_terminal_has_not(qconv: Run, checkpoint: Path) -> None:
    shown = qconv("info", checkpoint, "--json", env=environment(PYTHONIOENCODING="latin-1"))
    assert shown.returncode == 0
    assert qconv("architectures", "bert", env=environment(PYTHONIOENCODING="ascii")).returncode == 0


def test_a_path_that_is_not_utf_8_comes_out_as_it_is(checkpoint: Path, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    command: list[str | Path] = [sys.executable, "-m", "qconv", "convert", checkpoint, "--type", "f16", "-q", "-o"]
    arguments = [*map(os.fsencode, command), folder]
    run = subprocess.run(arguments, capture_output=True, env=environment(PYTHONUTF8="1"))
    assert run.returncode == 0, run.stderr
    assert run.stdout == folder + b"/Noise-3.4M-Instruct-F16.gguf\n"
