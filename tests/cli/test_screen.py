"""Help, usage errors, and what holds for every command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import Run, environment

COMMANDS = ["convert", "calibrate", "evaluate", "info", "verify", "compare", "architectures"]
OPTIONS_OF_CONVERT = [
    *("--type", "--mix", "--tensor-type", "--output-tensor-type", "--token-embedding-type", "--pure"),
    *("--leave-output-tensor", "--override-kv", "--output", "--force", "--skip-existing", "--quiet", "--json"),
    *("--dry-run", "--strict", "--allow-requantize", "--arch", "--pre", "--imatrix", "--include-weights"),
    *("--exclude-weights", "--search", "--threads", "--memory", "--split-max-size", "--no-resume", "--manifest"),
    *("--progress", "--part", "--finish", "--debug"),
]


def test_help_without_a_command(qconv: Run) -> None:
    alone, asked = qconv(), qconv("--help")
    assert (alone.returncode, alone.stdout) == (0, asked.stdout)
    for command in COMMANDS:
        assert f"\n  {command}" in asked.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_reads_at_80_columns_and_has_examples(qconv: Run, command: str) -> None:
    shown = qconv(command, "--help")
    assert shown.returncode == 0
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert f"Examples:\n  qconv {command} " in shown.stdout
    assert "\x1b" not in shown.stdout


@pytest.mark.parametrize(
    ("command", "takes"),
    [
        ("convert", "SOURCE..."),
        ("calibrate", "MODEL"),
        ("evaluate", "FILE..."),
        ("info", "PATH..."),
        ("verify", "FILE..."),
        ("compare", "A B"),
        ("architectures", "[NAME]"),
    ],
)
def test_usage_names_what_a_command_takes(qconv: Run, command: str, takes: str) -> None:
    assert qconv(command, "--help").stdout.startswith(f"Usage: qconv {command} [OPTIONS] {takes}\n")


def test_every_option_of_convert_is_explained(qconv: Run) -> None:
    text = qconv("convert", "--help").stdout
    for option in OPTIONS_OF_CONVERT:
        assert f"{option}\n" in text or f"{option} " in text, option


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["convret"], "convret"),
        (["info"], "PATH"),
        (["info", "--colour", "x"], "--colour"),
        (["convert", "x", "--threads", "many"], "--threads"),
        (["convert", "x"], "no type is named"),
        (["convert", "x", "--type", "q8_0", "--memory", "lots"], "'lots' is not a size"),
        (["convert", "x", "--type", "q8_0", "--memory", "9" * 400], "is not a size"),
        (["convert", "x", "--type", "q8_0", "--part", "5/4"], "5/4"),
        (["convert", "x", "--type", "q8_0", "--tensor-type", "q4_k"], "q4_k"),
        (["convert", "x", "y", "--type", "q8_0", "--output", "z.gguf"], "--output names one file"),
        (["convert", "x", "--type", "q8_0,q6_k", "--output", "nowhere"], "mkdir -p"),
        (["convert", "x", "--type", "q8_0", "--output", "nowhere/"], "mkdir -p"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(qconv: Run, arguments: list[str], says: str) -> None:
    refused = qconv(*arguments)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.startswith("qconv: error: ")
    assert refused.stderr.count("\n") == 1
    assert says in refused.stderr


def test_wrong_usage_as_json(qconv: Run) -> None:
    refused = qconv("info", "--json")
    assert refused.returncode == 2
    error = json.loads(refused.stdout)["error"]
    assert error["code"] == "usage"
    assert sorted(error) == ["code", "file", "hint", "message", "tensor"]


def test_version(qconv: Run) -> None:
    from qconv import __version__

    assert qconv("--version").stdout == f"qconv {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(qconv: Run, shell: str) -> None:
    script = qconv(env=environment(_QCONV_COMPLETE=f"source_{shell}"))
    assert script.returncode == 0
    assert "_QCONV_COMPLETE" in script.stdout


def test_completion_of_types(qconv: Run) -> None:
    words = {"COMP_WORDS": "qconv convert x --type q8_0,q4_k", "COMP_CWORD": "4", "_QCONV_COMPLETE": "complete_bash"}
    offered = qconv(env=environment(**words)).stdout.split()
    assert set(offered) == {"q8_0,q4_k_s", "q8_0,q4_k_m"}


@pytest.mark.parametrize("arguments", [["--help"], ["convert", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert not imported(*arguments) & {"numpy", "numba", "tokenizers", "sentencepiece", "rich", "tqdm", "safetensors"}


def imported(*arguments: str | Path) -> set[str]:
    """Top-level modules a command imports."""
    command = [sys.executable, "-X", "importtime", "-m", "qconv", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    lines = [line for line in run.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
