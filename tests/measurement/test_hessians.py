"""``calibrate`` with Hessians, against the sums of a model in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qconv.calibration import TensorHessian, read_hessians
from qconv.errors import OutputError
from qconv.measurement import calibrate
from qconv.measurement.damping import DAMPINGS
from qconv.options import CalibrateOptions, RunOptions
from qconv.runtime import Session
from tests.conversion.fakes import Watcher
from tests.runtime import models, reference

CONTEXT, TOKENS = 64, 256


def options(text: Path, output: Path, **more: Any) -> CalibrateOptions:
    given = {"context": CONTEXT, "tokens": TOKENS, "sensitivities": False, "hessians": True, **more}
    return CalibrateOptions(text=(str(text),), output=str(output), **given)


def whole(hessian: TensorHessian, matrix: int = 0) -> NDArray[np.float32]:
    h = np.zeros((hessian.columns, hessian.columns), np.float32)
    start = 0
    for panel in hessian.panels(matrix):
        h[start : start + len(panel), : panel.shape[1]] = panel
        start += len(panel)
    return np.tril(h) + np.tril(h, -1).T


def inputs(text: Path, path: Path, tensor: str, experts: bool = False) -> dict[int, NDArray[np.float64]]:
    """What a tensor's matrices are multiplied with, by the matrix."""
    with Session(path, context=CONTEXT) as session:
        chunks = session.chunks(session.tokenize(text.read_bytes().removesuffix(b"\n"))[:TOKENS])
    chunks[:, 0] = models.BOS
    rows: dict[int, list[NDArray[np.float64]]] = {}
    for chunk in chunks:
        for matrix, x in reference.forward(models.weights(experts), chunk)[0][tensor]:
            rows.setdefault(matrix or 0, []).append(x)
    return {matrix: np.concatenate(parts) for matrix, parts in rows.items()}


def test_each_input_has_a_file(text: Path, tmp_path: Path) -> None:
    path = models.llama(tmp_path / "plain.gguf")
    done = calibrate(path, options(text, tmp_path))
    folder = tmp_path / "plain-hessians"
    assert done.hessians == folder
    assert {p.name for p in folder.iterdir()} == {
        *(f"blk.{i}.{name}.gguf" for i in range(2) for name in ("attn_q", "attn_output", "ffn_gate", "ffn_down")),
        "output.gguf",
    }
    hessians = read_hessians(folder)
    assert hessians.model == done.measurements.model
    assert hessians.by_tensor.keys() == {n for n, a in models.weights().items() if a.ndim == 2} - {"token_embd.weight"}
    assert all(h.trials.keys() == set(DAMPINGS) for h in hessians.by_tensor.values())
    for name in ("blk.1.ffn_down.weight", "blk.0.attn_v.weight"):
        x = inputs(text, path, name)[0]
        h = whole(hessians.by_tensor[name])
        assert np.abs(h - x.T @ x).max() <= 2e-3 * np.abs(h).max()  # llama.cpp keeps attention's values in 16 bits


def test_an_embedding_that_is_the_output_matrix_has_the_hessian_of_the_latter(text: Path, tmp_path: Path) -> None:
    tied = {name: array for name, array in models.weights().items() if name != "output.weight"}
    path = models.write(tmp_path / "tied.gguf", tied, models.metadata())
    calibrate(path, options(text, tmp_path))
    own = {"output.weight": tied["token_embd.weight"]}
    calibrate(models.llama(tmp_path / "untied.gguf", changed=own), options(text, tmp_path))
    h = whole(read_hessians(tmp_path / "tied-hessians").by_tensor["token_embd.weight"])
    assert np.array_equal(h, whole(read_hessians(tmp_path / "untied-hessians").by_tensor["output.weight"]))


def test_experts_are_drawn_to_what_all_of_their_layer_saw(text: Path, tmp_path: Path) -> None:
    path = models.llama(tmp_path / "experts.gguf", experts=True)
    calibrate(path, options(text, tmp_path))
    hessian = read_hessians(tmp_path / "experts-hessians").by_tensor["blk.0.ffn_up_exps.weight"]
    assert hessian.matrices == models.EXPERTS
    seen = inputs(text, path, "blk.0.ffn_up_exps.weight", experts=True)
    own = [x.T @ x if len(x := seen.get(e, np.zeros((0, models.COLUMNS)))) else np.zeros((64, 64)) for e in range(4)]
    pooled, count = sum(own), sum(map(len, seen.values()))
    for expert, h in enumerate(own):
        expected = h + pooled * models.COLUMNS / count
        assert np.abs(whole(hessian, expert) - expected).max() <= 2e-2 * np.abs(expected).max()


@pytest.mark.parametrize("memory", [1, 60_000])
def test_less_memory_takes_more_passes_and_makes_the_same_files(text: Path, tmp_path: Path, memory: int) -> None:
    path = models.llama(tmp_path / "plain.gguf")
    files, passes = [], []
    for name, run in (("one", RunOptions()), ("many", RunOptions(memory=memory))):
        (tmp_path / name).mkdir()
        told = Watcher()
        calibrate(path, options(text, tmp_path / name), run, told)
        (note,) = [n for n in told.notes if n.startswith("Hessians of 9 inputs")]
        passes.append(note)
        files.append({p.name: p.read_bytes() for p in (tmp_path / name / "plain-hessians").iterdir()})
    assert files[0] == files[1]
    sizes = [64 * 64 * 4] * 3 + [96 * 96 * 4]  # a layer's inputs, of less than 256 columns each
    total = 2 * sum(sizes) + sizes[0]
    assert f"{total / 1e6:.1f} MB in plain-hessians/: one pass over 256 tokens" in passes[0]
    assert (f"{9 if memory == 1 else 5} passes" if memory == 1 else "passes over") in passes[1]


def test_a_disk_without_room_is_told_before_anything_is_measured(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = models.llama(tmp_path / "plain.gguf")
    output = tmp_path / "here"
    output.mkdir()
    monkeypatch.setattr("qconv.platform.free_bytes", lambda directory: 180_000 if directory == output else 1 << 40)
    size = 2 * (3 * 64 * 64 * 4 + 96 * 96 * 4) + 64 * 64 * 4
    with pytest.raises(OutputError, match=f"{size:,} bytes are needed for Hessians, and 180,000 are free"):
        calibrate(path, options(text, output))
    assert not list(output.iterdir())


def test_what_is_there_is_not_measured_again(text: Path, tmp_path: Path) -> None:
    path = models.llama(tmp_path / "plain.gguf")
    calibrate(path, options(text, tmp_path))
    kept, gone = (tmp_path / "plain-hessians" / f"blk.0.{name}.gguf" for name in ("attn_q", "ffn_down"))
    before = kept.stat().st_mtime_ns, gone.read_bytes()
    gone.unlink()
    told = Watcher()
    calibrate(path, options(text, tmp_path), RunOptions(force=True), told)
    assert any(note.startswith("Hessians of 1 inputs") for note in told.notes)
    assert (kept.stat().st_mtime_ns, gone.read_bytes()) == before
    told = Watcher()
    calibrate(path, options(text, tmp_path, tokens=128), RunOptions(force=True), told)  # another calibration
    assert any(note.startswith("Hessians of 9 inputs") for note in told.notes)
    assert kept.stat().st_mtime_ns != before[0]
