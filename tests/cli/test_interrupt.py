"""Ctrl-C, ``kill -9``, and going on after them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.commands import Run, environment, make_checkpoint
from tests.waiting import wait_until

WAITING = """
import itertools, os, sys, time
from pathlib import Path
from qconv.tensors import StoredTensor
from qconv.pipeline import Cancellation

half_way = Path(sys.argv.pop(1))
begun, numbers, told = [], itertools.count(1), []
read, because, leave = StoredTensor.read, Cancellation.because, os._exit

def waiting(self, *arguments, **options):
    number = next(numbers)
    begun.append(number)
    if number == 11:
        half_way.touch()
    while number > 10 and not told:
        time.sleep(0.01)
    return read(self, *arguments, **options)

def tell(self, error):
    because(self, error)
    told.append(len(begun))

def leaving(code):
    if told:
        print(len(begun) - told[0], file=sys.stderr, flush=True)
    leave(code)

StoredTensor.read, Cancellation.because, os._exit = waiting, tell, leaving
from qconv.cli import main
main()
"""
"""qconv, whose reads after the tenth wait until it is stopped.  Its last line then says how many reads it began since
its workers were told to stop."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("interrupt") / "Noise", "--hidden", "512", "--ffn", "2048")


@pytest.fixture(scope="module")
def whole(source: Path, qconv: Run) -> bytes:
    made = qconv("convert", source, "--type", "f32", "--output", source.parent / "whole.gguf")
    return Path(made.stdout.strip()).read_bytes()


@contextmanager
def running(source: Path, output: Path) -> Iterator[subprocess.Popen[str]]:
    """A conversion that has come half-way; killed at the end if it still runs."""
    half_way = output.with_name("half-way")
    options = ["convert", source, "--type", "f32", "--threads", "1", "--output", output]
    command = list(map(str, [sys.executable, "-c", WAITING, half_way, *options]))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment()) as process:
        try:
            wait_until(half_way.exists, process)
            half_way.unlink()
            yield process
        finally:
            process.kill()


def test_ctrl_c_keeps_the_part_and_says_how_to_go_on(source: Path, whole: bytes, qconv: Run, tmp_path: Path) -> None:
    output = tmp_path / "x.gguf"
    with running(source, output) as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    *_, last, reads = err.splitlines()
    assert last.startswith("qconv: stopped")
    assert "the same command resumes it" in last
    assert int(reads) <= 2  # one for each worker
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
