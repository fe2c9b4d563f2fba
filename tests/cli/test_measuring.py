"""``qconv calibrate`` and ``qconv evaluate``: what they print, and how they end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.commands import Run, environment
from tests.cli.missing import without
from tests.evaluation.test_evaluate import renamed
from tests.runtime import models
from tests.waiting import wait_until

QUICK = ("--context", "64", "--tokens", "128")
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and a text."""
    directory = tmp_path_factory.mktemp("measuring")
    models.llama(directory / "plain.gguf")
    models.llama(directory / "other.gguf", changed=models.disturbed())
    renamed(directory / "stranger.gguf")
    (directory / "text.txt").write_text(models.TEXT)
    return directory


@pytest.fixture
def measure(qconv: Run, folder: Path, tmp_path: Path) -> Command:
    """Runs ``qconv`` with a cache of the test's own."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return qconv(*arguments, env=environment(XDG_CACHE_HOME=str(tmp_path / "cache")))

    return run


def test_a_calibration(folder: Path, measure: Command, tmp_path: Path) -> None:
    asked = ["calibrate", folder / "plain.gguf", "--text", folder / "text.txt", *QUICK, "--sensitivity-tokens", "64"]
    done = measure(*asked, "--output", tmp_path)
    file = tmp_path / "plain-calibration.gguf"
    assert (done.returncode, done.stdout) == (0, f"{file}\n"), done.stderr
    first, *_, last = done.stderr.splitlines()
    assert first == "qconv: 128 tokens for the importance matrix, then 64 for each of 16 tensors"
    assert re.fullmatch(
        r"qconv: measured on 128 tokens; 3 bits everywhere would cost most in (\S+ \(\d+%\)(, )?){3}", last
    )
    again = measure(*asked, "--output", tmp_path)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == f"qconv: error: {file}: exists already (--force replaces it, --output names another)\n"
    forced = measure(*asked, "--output", tmp_path, "--force", "--quiet", "--json")
    assert (forced.returncode, forced.stderr) == (0, "")
    told = json.loads(forced.stdout)
    assert (told["file"], told["tokens"], told["context"], told["base"]) == (str(file), 128, 64, "F32")
    assert len(told["sensitivities"]) == 16
    assert told["sensitivities"]["output.weight"]["kl_divergence"] > 0


WAITING = """
import importlib, sys, time
from pathlib import Path
half_way = Path(sys.argv.pop(1))

def wait(*_):
    half_way.touch()
    time.sleep(300)

importlib.import_module("qconv.measurement.calibrate").sensitivities = wait
from qconv.cli import main
main()
"""
"""qconv, which waits before it measures sensitivities until it is stopped."""


def test_ctrl_c_leaves_no_file_and_the_same_command_goes_on(folder: Path, measure: Command, tmp_path: Path) -> None:
    asked = ["calibrate", folder / "plain.gguf", "--text", folder / "text.txt", *QUICK, "--output", tmp_path / "c.gguf"]
    half_way = tmp_path / "half-way"
    command = [sys.executable, "-c", WAITING, *map(str, [half_way, *asked])]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(XDG_CACHE_HOME=str(tmp_path / "cache")),
        start_new_session=True,
    ) as process:
        wait_until(half_way.exists, process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: llama.cpp's process gets it too
        out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "qconv: stopped (what is done is kept; the same command goes on with it)"
    assert not (tmp_path / "c.gguf").exists()
    assert (tmp_path / "c.gguf.part").exists()
    assert os.listdir(tmp_path / "cache" / "qconv" / "models") == []
    done = measure(*asked, "--json")
    assert done.returncode == 0, done.stderr
    assert "another calibration" not in done.stderr
    assert json.loads(done.stdout)["tokens"] == 128
    assert not (tmp_path / "c.gguf.part").exists()


def test_evaluations(folder: Path, measure: Command) -> None:
    asked = [
        "evaluate",
        folder / "other.gguf",
        "--against",
        folder / "plain.gguf",
        "--text",
        folder / "text.txt",
        *QUICK,
    ]
    shown = measure(*asked, folder / "plain.gguf")
    assert (shown.returncode, shown.stderr) == (0, "")
    headings, changed, same = (re.split(r"  +", line.strip()) for line in shown.stdout.splitlines())
    assert headings[0] == "file"
    assert headings[1:6] == ["size", "bits", "KL divergence", "predicted", "median"]
    assert (changed[0], changed[2]) == ("other.gguf", "32.00")
    assert float(changed[3].split(" ± ")[0]) > 0.01
    assert same[3].startswith("0.00000 ± 0.00000")
    told = measure(*asked, "--json")
    assert told.returncode == 0
    values = json.loads(told.stdout)
    assert values["positions"] == 2 * 31
    assert f"{values['kl_divergence']['mean']:.5f}" == changed[3].split(" ± ")[0]
    assert values["kl_divergence"]["predicted"] is None
    assert set(values["kl_divergence"]) == {"mean", "standard_error", "predicted", "median", "99", "99.9"}


def test_what_is_known_is_shown_when_a_later_file_fails(folder: Path, measure: Command) -> None:
    files = [folder / "other.gguf", folder / "stranger.gguf"]
    shown = measure("evaluate", *files, "--against", folder / "plain.gguf", "--text", folder / "text.txt", *QUICK)
    assert shown.returncode == 1
    assert shown.stdout.splitlines()[1].startswith("other.gguf ")
    assert f"qconv: error: {files[1]}: takes the text for other tokens" in shown.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["calibrate", "none"], "no text is named (--text FILE; the README says"),
        (["calibrate", "none", "--text", "t", "--context", "8"], "a context of 8 tokens cannot be measured in"),
        (["calibrate", "none", "--text", "t", "--tokens", "100"], "100 tokens do not fill a context of 512"),
        (["calibrate", "none", "--text", "t", "--base", "q4_0"], "a model cannot be measured in 'q4_0'"),
        (["calibrate", "none", "--text", "t", "--sensitivity-tokens", "9"], "9 tokens tell nothing of a tensor"),
        (["calibrate", "hf://a/b", "--text", "t"], "is run from files of this machine (download it first: hf download"),
        (["evaluate", "none", "--text", "t"], "--against"),
        (["evaluate", "none", "--against", "m"], "no text is named (--text FILE, one that was not calibrated on)"),
        (["evaluate", "none", "--against", "m", "--text", "t", "--plot", "x.jpg"], "'x.jpg' does not end in .png"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_told_before_a_model_is_opened(options: list[str], said: str, qconv: Run) -> None:
    refused = qconv(*options)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_what_is_not_installed_is_named(folder: Path, tmp_path: Path) -> None:
    said = "qconv: error: running a model takes llama.cpp, which is not installed (pip install 'qconv[runtime]')\n"
    text = ["--text", str(folder / "text.txt")]
    evaluation: list[str | Path] = ["evaluate", folder / "other.gguf", "--against", folder / "plain.gguf", *text]
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    calibration: list[str | Path] = ["calibrate", folder / "plain.gguf", *text, "--output", tmp_path / "c.gguf"]
    for arguments in (calibration, evaluation):
        refused = without("xllamacpp", *arguments, **cache)
        assert (refused.returncode, refused.stdout, refused.stderr) == (1, "", said)
    refused = without("matplotlib", *evaluation, "--plot", tmp_path / "x.png", **cache)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "qconv: error: --plot needs matplotlib (pip install 'qconv[plot]')\n"
    assert not (tmp_path / "c.gguf").exists()
    assert not (tmp_path / "cache").exists()
