"""The README's recipe for several machines: parts of one plan by command, under Dask and without, then the finish."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conversion.fakes import some

PARTS = 4


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A lone safetensors file of three tensors."""
    weights = {"a": some(1, 500, 256), "b": some(2, 3, 40, 256), "c": some(3, 256).reshape(256)}
    header, offset = {}, 0
    for name, array in weights.items():
        header[name] = {"dtype": "BF16", "shape": array.shape, "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(w.tobytes() for w in weights.values()))
    return path


def convert(source: Path, output: Path, *more: str) -> int:
    command = [
        sys.executable,
        "-m",
        "qconv",
        "convert",
        str(source),
        "--type",
        "q4_k_m",
        "--output",
        str(output),
        "--quiet",
        *more,
    ]
    return subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=120).returncode


def check_parts(source: Path, do_parts: Callable[[Path], object]) -> None:
    """Parts and a finish give the bytes of one run."""
    whole, output = source.with_name("whole.gguf"), source.with_name("shared.gguf")
    convert(source, whole)
    do_parts(output)
    assert not output.exists()
    convert(source, output, "--finish")
    assert output.read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in source.parent.iterdir()) == ["model.safetensors", "shared.gguf", "whole.gguf"]


def test_a_finish_with_another_option_changes_nothing(source: Path) -> None:
    output = source.with_name("shared.gguf")
    convert(source, output, "--part", "1/1")
    before = {path: path.read_bytes() for path in source.parent.iterdir()}
    for option in ("--override-kv=general.name=str:z", "--no-resume"):
        with pytest.raises(subprocess.CalledProcessError):
            convert(source, output, "--finish", option)
        assert {path: path.read_bytes() for path in source.parent.iterdir()} == before
    convert(source, output, "--finish")
    assert output.exists()


def test_parts_side_by_side(source: Path) -> None:
    def do_parts(output: Path) -> None:
        command = [sys.executable, "-m", "qconv", "convert", str(source), "-t", "q4_k_m", "-o", str(output), "--quiet"]
        running = [subprocess.Popen([*command, "--part", f"{n}/{PARTS}"]) for n in range(1, PARTS + 1)]
        assert [process.wait(120) for process in running] == [0] * PARTS

    check_parts(source, do_parts)


@pytest.mark.filterwarnings("default")
def test_parts_under_dask(source: Path) -> None:
    from distributed import Client, LocalCluster

    def do_parts(output: Path) -> None:
        cluster: Any = LocalCluster(  # type: ignore[no-untyped-call]  # distributed has no types
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        )
        with cluster, Client(cluster) as client:  # type: ignore[no-untyped-call]  # distributed has no types
            parts = client.map(lambda n: convert(source, output, "--part", f"{n}/{PARTS}"), range(1, PARTS + 1))
            assert client.gather(parts) == [0] * PARTS

    check_parts(source, do_parts)
