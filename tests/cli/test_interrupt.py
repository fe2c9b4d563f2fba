"""Ctrl-C, ``kill -9``, and going on after them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.commands import Run, environment, make_checkpoint

SLOW = """
import sys, time
from qconv.checkpoints import Checkpoint
read = Checkpoint.read
def slow(self, *arguments, **options):
    time.sleep(0.15)
    return read(self, *arguments, **options)
Checkpoint.read = slow
from qconv.cli import main
main()
"""
"""qconv, reading so slowly that it can be stopped half-way."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("interrupt") / "Noise", "--hidden", "512", "--ffn", "2048")


@pytest.fixture(scope="module")
def whole(source: Path, qconv: Run) -> bytes:
    made = qconv("convert", source, "--type", "f32", "--output", source.parent / "whole.gguf")
    return Path(made.stdout.strip()).read_bytes()


@contextmanager
def running(source: Path, output: Path) -> Iterator[subprocess.Popen[str]]:
    """A conversion that has begun to write; killed at the end if it still runs."""
    command = [sys.executable, "-c", SLOW, "convert", source, "--type", "f32", "--threads", "1", "--output", output]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment()) as process:
        part = output.with_name(output.name + ".part")
        deadline = time.monotonic() + 60
        while not part.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.7)
        try:
            assert process.poll() is None, "was done before it could be stopped"
            yield process
        finally:
            process.kill()


def test_ctrl_c_keeps_the_part_and_says_how_to_go_on(source: Path, whole: bytes, qconv: Run, tmp_path: Path) -> None:
    output = tmp_path / "x.gguf"
    with running(source, output) as process:
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert time.monotonic() - began < 10  # under a second on a machine with nothing else to do
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("qconv: stopped")
    assert "the same command goes on" in last
    assert not output.exists()
    assert (tmp_path / "x.gguf.part").exists()

    resumed = qconv("convert", source, "--type", "f32", "--output", output, "--threads", "1")
    assert resumed.returncode == 0, resumed.stderr
    assert output.read_bytes() == whole
    assert os.listdir(tmp_path) == ["x.gguf"]


def test_kill_9_and_the_same_command_again(source: Path, whole: bytes, qconv: Run, tmp_path: Path) -> None:
    output = tmp_path / "x.gguf"
    with running(source, output) as process:
        process.kill()
    assert not output.exists()
    resumed = qconv("convert", source, "--type", "f32", "--output", output)
    assert resumed.returncode == 0, resumed.stderr
    assert output.read_bytes() == whole
    assert os.listdir(tmp_path) == ["x.gguf"]


def test_a_second_process_is_refused(source: Path, qconv: Run, tmp_path: Path) -> None:
    output = tmp_path / "x.gguf"
    with running(source, output):
        second = qconv("convert", source, "--type", "f32", "--output", output)
    assert (second.returncode, second.stdout) == (1, "")
    assert "another process" in second.stderr


def test_parts_and_finish(source: Path, whole: bytes, qconv: Run, tmp_path: Path) -> None:
    output = tmp_path / "x.gguf"
    command = ["convert", source, "--type", "f32", "--output", output]
    for part in ("2/3", "1/3"):
        done = qconv(*command, "--part", part)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    early = qconv(*command, "--finish")
    assert (early.returncode, early.stdout) == (1, "")
    assert not output.exists()
    qconv(*command, "--part", "3/3")
    finished = qconv(*command, "--finish")
    assert (finished.returncode, finished.stdout) == (0, f"{output}\n"), finished.stderr
    assert output.read_bytes() == whole


def test_ctrl_c_before_anything_began_is_quiet() -> None:
    code = "import sys, os, signal; sys.argv = ['qconv', '--help']\n"
    code += "sys.meta_path.insert(0, type('F', (), {'find_spec': staticmethod("
    code += "lambda name, *_: os.kill(os.getpid(), signal.SIGINT) if name == 'typer' else None)}))\n"
    code += "from qconv.cli import main; main()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "")
