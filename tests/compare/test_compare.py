"""``qconv compare`` over files that the gguf package wrote."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from qconv.compare import Comparison, compare, open_sides
from qconv.tensors import StoredTensor, operations

WEIGHTS = np.random.default_rng(3).standard_normal((8, 64)).astype(np.float32)


def file(
    path: Path,
    *,
    weights: NDArray[np.float32] = WEIGHTS,
    keys: Sequence[tuple[str, str]] = (),
    other: Sequence[tuple[str, NDArray[np.float32]]] = (),
    quantized: bool = False,
) -> Path:
    """A GGUF file of a few tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint32("llama.block_count", 2)
    for key, value in keys:
        writer.add_string(key, value)
    kind = gguf.GGMLQuantizationType.Q8_0
    if quantized:
        writer.add_tensor("blk.0.attn_v.weight", gguf.quants.quantize(weights, kind), raw_dtype=kind)
    else:
        writer.add_tensor("blk.0.attn_v.weight", weights)
    writer.add_tensor("blk.1.attn_v.weight", WEIGHTS)
    for name, data in other:
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def compared(a: Path, b: Path) -> Comparison:
    with open_sides(a, b) as (one, two):
        return compare(one, two, threads=2)


def run(*arguments: Any) -> Any:
    command = [sys.executable, "-m", "qconv", "compare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_same_file_twice(tmp_path: Path) -> None:
    path = file(tmp_path / "a.gguf")
    comparison = compared(path, path)
    assert comparison.same
    assert len(comparison.tensors) == 2
    done = run(path, path)
    assert done.returncode == 0
    assert done.stdout.startswith("the same")


def test_what_differs_is_named(tmp_path: Path) -> None:
    a = file(tmp_path / "a.gguf", keys=[("x.only", "1"), ("x.both", "1")], other=[("output.weight", WEIGHTS)])
    b = file(tmp_path / "b.gguf", keys=[("x.both", "2"), ("x.new", "3")], other=[("output.weight", WEIGHTS[:4])])
    comparison = compared(a, b)
    assert not comparison.same
    assert comparison.keys.removed == ("x.only",)
    assert comparison.keys.added == ("x.new",)
    assert [key for key, _, _ in comparison.keys.changed] == ["x.both"]
    assert comparison.reshaped == (("output.weight", (8, 64), (4, 64)),)
    done = run(a, b)
    assert done.returncode == 1
    assert "x.new" in done.stdout
    assert "8 x 64" in done.stdout


def test_leading_dimensions_of_1_are_no_difference(tmp_path: Path) -> None:
    """As in a file of the converter and the one llama-quantize makes of it."""
    a = file(tmp_path / "a.gguf", other=[("v.rows", WEIGHTS[None]), ("v.row", WEIGHTS[:1]), ("v.one", WEIGHTS[:1, :1])])
    b = file(tmp_path / "b.gguf", other=[("v.rows", WEIGHTS), ("v.row", WEIGHTS[0]), ("v.one", WEIGHTS[0, :1])])
    comparison = compared(a, b)
    assert comparison.same
    assert comparison.reshaped == ()
    assert comparison.led_by_ones == (
        ("v.rows", (1, 8, 64), (8, 64)),
        ("v.row", (1, 64), (64,)),
        ("v.one", (1, 1), (1,)),
    )
    assert {t.name for t in comparison.tensors} >= {"v.rows", "v.row", "v.one"}
    done = run(b, a)
    assert done.returncode == 0
    assert "leading dimensions of 1 on one side only (3): v.rows, v.row, v.one" in " ".join(done.stdout.split())
    assert "the same" in done.stdout
    assert json.loads(run(a, b, "--json").stdout)["led_by_ones"]["v.row"] == [[1, 64], [64]]


def test_weights_of_a_row_led_by_a_1_are_compared(tmp_path: Path) -> None:
    a = file(tmp_path / "a.gguf", other=[("v.row", WEIGHTS[:1])])
    b = file(tmp_path / "b.gguf", other=[("v.row", WEIGHTS[1])])
    worst = compared(a, b).tensors[0]
    assert (worst.name, worst.equal) == ("v.row", False)
    assert worst.error.worst == np.abs(WEIGHTS[0] - WEIGHTS[1]).max()


def test_dimensions_of_1_elsewhere_are_a_difference(tmp_path: Path) -> None:
    a = file(tmp_path / "a.gguf", other=[("v", WEIGHTS.reshape(8, 1, 64)), ("w", WEIGHTS.reshape(8, 64, 1))])
    b = file(tmp_path / "b.gguf", other=[("v", WEIGHTS), ("w", WEIGHTS)])
    comparison = compared(a, b)
    assert [name for name, _, _ in comparison.reshaped] == ["v", "w"]
    assert not comparison.same


def test_a_changed_weight(tmp_path: Path) -> None:
    changed = WEIGHTS.copy()
    changed[3, 7] += 2
    comparison = compared(file(tmp_path / "a.gguf"), file(tmp_path / "b.gguf", weights=changed))
    worst = comparison.tensors[0]
    assert (worst.name, worst.role, worst.layer, worst.equal) == ("blk.0.attn_v.weight", "attn_v", 0, False)
    assert worst.error.worst == pytest.approx(2, rel=1e-6)
    assert worst.error.rmse == pytest.approx(2 / np.sqrt(512), rel=1e-6)
    assert comparison.tensors[1].equal


@pytest.mark.parametrize(("one", "other"), [(0.5, np.inf), (np.inf, 0.5), (np.inf, -np.inf), (3e38, -3e38)])
def test_weights_that_float32_cannot_subtract(tmp_path: Path, one: float, other: float) -> None:
    a, b = (
        file(tmp_path / f"{n}.gguf", other=[("v", np.array([1.0, x], np.float32))]) for n, x in enumerate((one, other))
    )
    for how in ((), ("--json",)):
        done = run(a, b, *how)
        assert done.returncode == 1
        assert done.stderr == ""
    first = json.loads(done.stdout)["tensors"][0]
    assert first["name"] == "v"
    assert first["sqnr_db"] is None


def test_quantized_against_original(tmp_path: Path) -> None:
    a, b = file(tmp_path / "a.gguf"), file(tmp_path / "b.gguf", quantized=True)
    kind = gguf.GGMLQuantizationType.Q8_0
    decoded = gguf.quants.dequantize(gguf.quants.quantize(WEIGHTS, kind), kind)
    done = run(a, b, "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    first = said["tensors"][0]
    assert first["types"] == ["F32", "Q8_0"]
    assert first["rmse"] == pytest.approx(float(np.sqrt(np.mean((WEIGHTS - decoded) ** 2.0))), rel=1e-5)
    assert said["by_type"]["Q8_0"]["tensors"] == 1


def test_a_checkpoint_has_its_own_type(tmp_path: Path) -> None:
    save_file({"w.weight": WEIGHTS.astype(np.float16)}, tmp_path / "half.safetensors")
    done = run(tmp_path / "half.safetensors", tmp_path / "half.safetensors", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tensors"][0]["types"] == ["F16", "F16"]


def test_ctrl_c_does_not_wait_for_a_read_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    awake, ended, main = threading.Event(), threading.Event(), threading.main_thread().ident
    assert main is not None

    def hang(*_: Any) -> None:
        signal.pthread_kill(main, signal.SIGINT)
        awake.wait(60)
        ended.set()
        raise OSError

    path = file(tmp_path / "a.gguf")
    with open_sides(path, path) as (one, two):
        monkeypatch.setattr(StoredTensor, "read", hang)
        try:
            with pytest.raises(KeyboardInterrupt):
                compare(one, two)
            assert not ended.is_set()
        finally:
            awake.set()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = run(file(tmp_path / "a.gguf"), tmp_path / "none.gguf", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == "input"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_what_a_checkpoints_architecture_computes_counts_as_the_converter_writes_it(tmp_path: Path, kind: str) -> None:
    """Such as a matrix times a factor of the config: computed in float32, written in 16 bits."""
    with open_sides(file(tmp_path / "a.gguf"), file(tmp_path / "b.gguf")) as (one, two):
        name = "blk.0.attn_v.weight"
        scaled = operations()["scale"](one.tensors[name], 1.5)
        ours = replace(one, tensors={name: scaled}, types={name: kind}, is_checkpoint=True)
        comparison = compare(ours, replace(two, tensors={name: two.tensors[name]}, types={name: "F32"}))
        expected = WEIGHTS * np.float32(1.5)
        if kind == "F16":
            expected = expected.astype(np.float16).astype(np.float32)
        else:
            bits = expected.view(np.uint32)
            expected = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).view(np.float32)
        error = np.sqrt(np.mean(np.square(expected.astype(np.float64) - WEIGHTS)))
        assert comparison.tensors[0].error.rmse == pytest.approx(error, rel=1e-12)
        assert comparison.tensors[0].reference_type == kind
