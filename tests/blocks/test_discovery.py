"""A block type is a row of ``formats/blocks.toml``, a module, and its vectors: no list names it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from qconv import blocks
from qconv.formats import block_types

ROOT = Path(__file__).parents[2]

ROW = 'TOY = { id = 200, weights = 2, bytes = 8, fields = ["x: f32[2]"] }\n'
MODULE = """
import numpy as np
from qconv.formats import block_types


class _Codec:
    layout = block_types()["TOY"]
    searches = ("reference",)

    def encode(self, rows, context, out):
        if rows.dtype == np.uint16:
            rows = (rows.astype(np.uint32) << 16).view(np.float32)
        out.view(np.float32)[:] = rows
        return bool(np.isfinite(rows).all())

    def decode(self, blocks, out):
        out[:] = blocks.view(np.float32)


CODEC = _Codec()
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this repository with one block type more."""
    root = tmp_path_factory.mktemp("copy")
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("qconv", "formats", "scripts", "tests/blocks"):
        shutil.copytree(ROOT / folder, root / folder, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", root)
    with (root / "formats" / "blocks.toml").open("a", encoding="utf-8") as table:
        table.write(ROW)
    (root / "qconv" / "blocks" / "toy.py").write_text(MODULE, encoding="utf-8")
    return root


def run(root: Path, *command: str) -> str:
    done = subprocess.run([sys.executable, *command], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_room_finds_it(copy: Path) -> None:
    code = "from qconv import blocks; print('TOY' in blocks.decodable(), 'TOY' in blocks.encodable())"
    assert run(copy, "-c", code) == "True True\n"


def test_the_tests_of_every_block_type_find_it(copy: Path) -> None:
    battery = ("test_contract.py", "test_non_finite.py", "test_layout.py")
    files = [f"tests/blocks/{name}" for name in battery]
    passed = run(copy, "-m", "pytest", "-o", "addopts=--import-mode=importlib", "-v", "-k", "TOY", *files)
    for test in ("test_threads_do_not_disturb_each_other", "test_the_first_of_several_is_named"):
        assert f"{test}[TOY] PASSED" in passed
    assert "[TOY] FAILED" not in passed
    collected = run(copy, "-m", "pytest", "--collect-only", "-k", "TOY", "tests/blocks")
    for test in ("test_vectors.py::test_encode", "test_vectors.py::test_decode", "test_against_ggml.py::test_encode"):
        assert f"{test}[TOY]" in collected


def test_the_scripts_find_it(copy: Path) -> None:
    """ggml does not know the type, which is as far as they get."""
    for script in (["check_kernels.py", "--types", "TOY"], ["bench_kernels.py", "--types", "TOY"], ["make_vectors.py"]):
        command = [sys.executable, f"scripts/{script[0]}", *script[1:]]
        done = subprocess.run(
            command, cwd=copy, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True, check=False
        )
        assert "this ggml's TOY has another layout" in done.stderr


def test_every_module_named_as_a_block_type_has_its_codec() -> None:
    for name in blocks.decodable():
        codec = blocks.codec(name)
        assert codec.layout == block_types()[name]
        assert set(codec.searches) <= set(blocks.SEARCHES)
    assert set(blocks.encodable()) <= set(blocks.decodable())
