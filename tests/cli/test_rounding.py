"""From a text to a file whose rounding errors cancel, by commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray
from reference import ggml

from tests.cli.commands import Run
from tests.runtime.models import TEXT


@pytest.fixture(scope="module")
def calibrated(checkpoint: Path, qconv: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated")
    text = folder / "text.txt"
    text.write_text(TEXT)
    options = ["--text", text, "--tokens", "256", "--context", "64", "--no-sensitivities", "--hessians"]
    done = qconv("calibrate", checkpoint, *options, "--output", folder / "noise-calibration.gguf", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hessians"] == str(folder / "noise-hessians")
    assert "one pass over 256 tokens" in done.stderr
    return folder


def error(file: Path, source: Path, hessian: Path) -> float:
    """Σ ΔW H ΔWᵀ of the first layer's ffn_down, with what the gguf package reads of all three files."""
    name = "blk.0.ffn_down.weight"
    coded, exact = ({t.name: t for t in gguf.GGUFReader(path).tensors}[name] for path in (file, source))
    weights = (exact.data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    off = (weights - ggml.decode(coded.tensor_type.name, np.asarray(coded.data))).astype(np.float64)
    h = whole(next(t.data for t in gguf.GGUFReader(hessian).tensors if t.name.endswith(".hessian")), off.shape[1])
    return float((off @ h * off).sum())


def whole(values: NDArray[np.float32], columns: int) -> NDArray[np.float64]:
    h, at = np.zeros((columns, columns)), 0
    for start in range(0, columns, 256):
        stop = min(columns, start + 256)
        h[start:stop, :stop] = values.reshape(-1)[at : at + (stop - start) * stop].reshape(stop - start, stop)
        at += (stop - start) * stop
    return np.tril(h) + np.tril(h, -1).T


def test_convert_and_verify(checkpoint: Path, calibrated: Path, qconv: Run, tmp_path: Path) -> None:
    options = ["--rounding", "gptq", "--hessians", calibrated / "noise-hessians"]
    imatrix = ["--imatrix", calibrated / "noise-calibration.gguf"]
    files = {}
    for name, more in (("gptq", [*options, *imatrix, "--manifest"]), ("nearest", imatrix)):
        files[name] = tmp_path / f"{name}.gguf"
        made = qconv("convert", checkpoint, "--type", "q4_k_s", *more, "--output", files[name])
        assert made.returncode == 0, made.stderr
    bf16 = tmp_path / "bf16.gguf"
    assert qconv("convert", checkpoint, "--type", "bf16", "--output", bf16).returncode == 0
    hessian = calibrated / "noise-hessians" / "blk.0.ffn_down.gguf"
    assert error(files["gptq"], bf16, hessian) < 0.6 * error(files["nearest"], bf16, hessian)
    checked = qconv("verify", files["gptq"], "--against", checkpoint)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_dry_run_tells_which_tensors(checkpoint: Path, calibrated: Path, qconv: Run, tmp_path: Path) -> None:
    hessians = Path(shutil.copytree(calibrated / "noise-hessians", tmp_path / "hessians"))
    options = ["--type", "q4_k_m", "--rounding", "gptq", "--hessians", hessians, "--dry-run", "--json"]
    why, warnings = _told(qconv("convert", checkpoint, *options).stdout)
    assert why["blk.1.attn_v.weight"].endswith("; GPTQ")
    assert why["token_embd.weight"].endswith("; GPTQ")  # which is the output matrix too
    assert not any("no Hessian" in warning for warning in warnings)
    (hessians / "token_embd.gguf").unlink()
    why, warnings = _told(qconv("convert", checkpoint, *options).stdout)
    assert why["blk.1.attn_v.weight"].endswith("; GPTQ")
    assert not why["token_embd.weight"].endswith("GPTQ")
    assert any("token_embd.weight" in warning and "no Hessian" in warning for warning in warnings)


def _told(shown: str) -> tuple[dict[str, str], list[str]]:
    """Why each tensor has its type, and the warnings, of a plan as JSON."""
    plan = json.loads(shown)
    return {tensor["name"]: tensor["why"] for tensor in plan["tensors"]}, plan["warnings"]


def test_another_model_is_refused(calibrated: Path, qconv: Run, q8_0: Path, tmp_path: Path) -> None:
    options = ["--rounding", "gptq", "--hessians", calibrated / "noise-hessians", "--allow-requantize"]
    made = qconv("convert", q8_0, "--type", "q4_k_m", *options, "--output", tmp_path)
    assert made.returncode == 1
    assert "was measured on another model" in made.stderr
