"""Files made with an importance matrix are llama-quantize's to the byte, whatever they are made from.

``expected.json`` is recorded by ``scripts/record_imatrix.py``: llama.cpp's converter, then llama-quantize.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.cli.commands import environment
from tests.imatrix.digest import digest, names
from tests.imatrix.models import MODELS, RUNS, SOME, Run, make, write_matrices

EXPECTED = json.loads((Path(__file__).parent / "expected.json").read_text("utf-8"))["runs"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The checkpoints, each beside its matrices."""
    root = tmp_path_factory.mktemp("imatrix")
    for name in MODELS:
        (root / name).mkdir()
        write_matrices(root / name, name)
    return {name: make(name, root / name) for name in MODELS}


def qconv(*arguments: str | Path, folder: Path) -> list[str]:
    """The lines of ``qconv``'s output, run in ``folder``."""
    command = [sys.executable, "-m", "qconv", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def convert(source: Path, run: Run, types: Sequence[str], directory: Path) -> Iterator[tuple[str, Path]]:
    """Types and files, made where the matrices are, as a user would make them."""
    options: list[str | Path] = [
        "--imatrix",
        run.imatrix,
        *run.options,
        "--type",
        ",".join(types),
        "--output",
        directory,
        "--quiet",
    ]
    return zip(types, map(Path, qconv("convert", source, *options, folder=source.parent)), strict=True)


def check(run: Run, type_: str, file: Path) -> None:
    expected, actual = EXPECTED[run.title][type_], digest(file)
    if actual != expected:
        pairs = zip(names(file), actual["tensors"].split(), expected["tensors"].split(), strict=True)
        wrong = [name for name, ours, theirs in pairs if ours != theirs]
        pytest.fail(f"{type_}: header alike: {actual['header'] == expected['header']}, tensors that differ: {wrong}")


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.title[:60])
def test_from_a_checkpoint(run: Run, made: dict[str, Path], tmp_path: Path) -> None:
    # in 16 bits a checkpoint becomes the converter's own file, in which a matrix has no part
    types = [type_ for type_ in run.types if type_ != "f16"]
    for type_, file in convert(made[run.model], run, types, tmp_path):
        check(run, type_, file)


@pytest.mark.parametrize("name", MODELS)
def test_from_a_gguf_file(name: str, made: dict[str, Path], tmp_path: Path) -> None:
    """The 16-bit file between, as llama-quantize has it."""
    source = made[name].with_name(f"{name}-16-bit.gguf")
    qconv("convert", made[name], "--type", "bf16", "--output", source, folder=tmp_path)
    for run in (r for r in RUNS if r.model == name and r.imatrix == "imatrix.gguf" and not r.options):
        for type_, file in convert(source, run, ("f16", *SOME), tmp_path):
            check(run, type_, file)


def test_a_manifest_keeps_where_the_matrix_is_and_how_it_was_named(made: dict[str, Path], tmp_path: Path) -> None:
    run = Run("Misfit", ".//imatrix.gguf", ("q4_0",), ("--manifest",))
    ((_, file),) = convert(made["Misfit"], run, run.types, tmp_path)
    assert qconv("verify", file, "--against", made["Misfit"], "--quiet", folder=tmp_path) == []


def test_every_recorded_run_is_compared() -> None:
    assert {run.title: run.types for run in RUNS} == {title: tuple(types) for title, types in EXPECTED.items()}
