"""Calibration of small models in llama.cpp: importance, sensitivities, and going on after an interruption."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray

import qconv
from qconv.calibration import read_imatrix
from qconv.errors import InputError, Interrupted, LlamaCppError, OutputError, UnsupportedError
from qconv.measurement import Calibrated, calibrate
from qconv.measurement.probe import scale_of
from qconv.options import CalibrateOptions, RunOptions
from qconv.runtime import Session
from tests.cli.commands import make_checkpoint
from tests.conversion.fakes import Watcher
from tests.runtime import models, reference
from tests.runtime.test_importance import golden

MODULE = importlib.import_module("qconv.measurement.calibrate")  # the room offers the function by that name
CONTEXT = 64
ROUTES = {0: 8.0, 1: 4.0, 2: 0.0, 3: -8.0}
"""What each expert's gate makes of the first column, which is positive: 0 and 1 are always chosen."""


def options(text: Path, **more: Any) -> CalibrateOptions:
    return CalibrateOptions(text=(str(text),), **{"context": CONTEXT, "sensitivity_tokens": 64, **more})


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.llama(tmp_path_factory.mktemp("models") / "plain.gguf")


@pytest.fixture(scope="module")
def moe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.llama(tmp_path_factory.mktemp("models") / "experts.gguf", experts=True)


@pytest.mark.parametrize("name", ["plain", "experts"])
def test_importance_is_llama_imatrix_s(
    name: str, plain: Path, moe: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "Session", partial(Session, batch=256))  # as it was given, against 2048 by default
    source = moe if name == "experts" else plain
    asked = options(text, tokens=10_000, sensitivities=False, process_output=True, output=str(tmp_path))
    done = calibrate(source, asked)
    assert done.path == tmp_path / f"{name}-calibration.gguf"
    expected = golden(name)
    actual = {t.name: np.asarray(t.data) for t in gguf.GGUFReader(done.path).tensors}
    assert {key for key in expected if not key.endswith(".stats")} == {
        key for key in actual if not key.endswith(".peaks")
    }
    for key, theirs in expected.items():
        if key.endswith(".counts"):
            assert np.array_equal(actual[key].reshape(theirs.shape), theirs), key
        elif not key.endswith(".stats"):
            ours = actual[key].reshape(theirs.shape)  # ggml drops outer dimensions of 1
            assert np.abs(ours - theirs).max() <= 2e-4 * np.abs(theirs).max(), key


def test_what_the_file_says_of_itself(plain: Path, text: Path, tmp_path: Path) -> None:
    done = calibrate(plain, options(text, tokens=300, output=str(tmp_path / "c.gguf")))
    m = done.measurements
    assert (m.tokens, m.context, m.base, m.sensitivity_tokens) == (256, CONTEXT, "F32", 64)
    fields = gguf.GGUFReader(done.path).fields
    assert fields["imatrix.chunk_count"].contents() == 4
    assert fields["imatrix.datasets"].contents() == [str(text)]
    matrices = {name for name, array in models.weights().items() if array.ndim == 2}
    assert m.sensitivities.keys() == matrices
    assert os.listdir(tmp_path / "cache" / "qconv" / "models") == []


def test_by_default_8_tokens_for_each_column_of_the_widest_input(plain: Path, text: Path, tmp_path: Path) -> None:
    done = calibrate(plain, options(text, sensitivities=False, output=str(tmp_path)))
    assert done.measurements.tokens == 8 * models.FEED_FORWARD


def test_the_output_matrix_is_left_out_unless_asked_for(plain: Path, text: Path, tmp_path: Path) -> None:
    done = calibrate(plain, options(text, tokens=64, sensitivities=False, output=str(tmp_path)))
    tensors = {t.name for t in gguf.GGUFReader(done.path).tensors}
    assert {name for name in tensors if name.startswith("output")} == {"output.weight.peaks"}


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    logits = logits - logits.max(1, keepdims=True)
    log_probabilities: NDArray[np.float64] = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return log_probabilities


def test_a_sensitivity_is_what_rounding_that_tensor_alone_does(plain: Path, text: Path, tmp_path: Path) -> None:
    """To Q4_0 with twice its errors, as the ``gguf`` package rounds; KL divergence in numpy's float64."""
    name = "token_embd.weight"  # its inputs are looked up, so that it has no importance
    text.write_text(models.TEXT[:CONTEXT])
    s = calibrate(plain, options(text, tokens=64, output=str(tmp_path))).measurements.sensitivities[name]
    weights = models.weights()
    kind = gguf.GGMLQuantizationType.Q4_0
    change = 2 * (dequantize(quantize(weights[name], kind), kind) - weights[name])
    assert s.disturbance == pytest.approx(float(np.square(change, dtype=np.float64).sum()), rel=1e-3)
    data = np.frombuffer(models.TEXT.replace(" ", "\u2581").encode()[:63], np.uint8).astype(np.int32)
    chunk = np.concatenate([[models.BOS], data + models.FIRST_BYTE]).astype(np.int32)
    p, q = (
        log_softmax(reference.forward(w, chunk)[1][32:-1]) for w in (weights, weights | {name: weights[name] + change})
    )
    kl = (np.exp(p) * (p - q)).sum(1)
    assert s.kl == pytest.approx(kl.mean(), rel=0.02)
    assert s.deviation == pytest.approx(kl.std(ddof=1) / np.sqrt(len(kl)), rel=0.02)


def starved(path: Path) -> Path:
    """A model of four experts of which two are never chosen."""
    weights = models.weights(experts=True)
    changed = {"token_embd.weight": weights["token_embd.weight"].copy()}
    changed["token_embd.weight"][:, 0] = 3.0
    for layer in range(models.LAYERS):
        for part in ("attn_output", "ffn_down_exps", "ffn_gate_inp"):
            changed[f"blk.{layer}.{part}.weight"] = weights[f"blk.{layer}.{part}.weight"].copy()
        changed[f"blk.{layer}.attn_output.weight"][0] = 0.0  # nothing is added to the first column
        changed[f"blk.{layer}.ffn_down_exps.weight"][:, 0] = 0.0
        gate = changed[f"blk.{layer}.ffn_gate_inp.weight"]
        gate[:] = 0.0
        gate[:, 0] = [ROUTES[expert] for expert in range(models.EXPERTS)]
    return models.llama(path, experts=True, changed=changed)


def test_experts_that_saw_no_token_are_told_and_take_the_others_importance(text: Path, tmp_path: Path) -> None:
    model = starved(tmp_path / "moe.gguf")
    done = calibrate(model, options(text, tokens=128, sensitivities=False))
    assert done.path == tmp_path / "moe-calibration.gguf"
    count = 2 * 3 * models.LAYERS
    assert done.notes == (
        f"{count} matrices of experts saw no token and take the importance of the other experts' inputs",
    )
    name = "blk.0.ffn_up_exps.weight"
    tensors = {t.name: np.asarray(t.data) for t in gguf.GGUFReader(done.path).tensors}
    assert tensors[f"{name}.counts"].reshape(-1).tolist() == [128, 128, 1, 1]
    squares = tensors[f"{name}.in_sum2"].reshape(models.EXPERTS, -1)
    importance = read_imatrix(done.path).entries[name].reshape(models.EXPERTS, -1)
    pooled = (squares[0].astype(np.float64) + squares[1]) / 256
    np.testing.assert_allclose(importance[2], pooled, rtol=1e-6)
    np.testing.assert_allclose(importance[3], pooled, rtol=1e-6)
    np.testing.assert_allclose(importance[0], squares[0] / 128, rtol=1e-6)


class Stops(Watcher):
    """Presses Ctrl-C when it is told of ``tensor`` for the ``nth`` time (from 1)."""

    def __init__(self, tensor: str, nth: int) -> None:
        super().__init__()
        self.tensor, self.left = tensor, nth

    def advance(self, tensor: str, size: int) -> None:
        super().advance(tensor, size)
        self.left -= tensor == self.tensor
        if not self.left:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def long_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of three batches."""
    path = tmp_path_factory.mktemp("texts") / "long.txt"
    path.write_text(models.TEXT * 3)
    return path


@pytest.fixture(scope="module")
def uninterrupted(plain: Path, long_text: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platformdirs.user_cache_path", lambda name: directory)
        return calibrate(plain, options(long_text, tokens=5000, output=str(directory))).path.read_bytes()


@pytest.mark.parametrize("where", [("importance", 2), ("outputs", 1), ("blk.1.ffn_up.weight", 1), ("probe", 1)])
def test_a_run_goes_on_where_it_was_stopped(
    where: tuple[str, int],
    plain: Path,
    long_text: Path,
    uninterrupted: bytes,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qconv.measurement.saved_state.SAVED_EVERY", 0.0)
    monkeypatch.setattr(MODULE, "_BATCHES", 1)
    file, part = tmp_path / "c.gguf", tmp_path / "c.gguf.part"
    asked = options(long_text, tokens=5000, output=str(file))

    with monkeypatch.context() as stopped:
        if where[0] == "probe":
            stopped.setattr(MODULE, "probe", interrupt)
        with pytest.raises(Interrupted, match=r"stopped \(what is done is kept; the same command goes on with it\)"):
            calibrate(plain, asked, progress=Stops(*where))
    assert not file.exists()
    assert part.exists()
    assert os.listdir(cache / "models") == []

    watcher = Watcher()
    calibrate(plain, asked, progress=watcher)
    assert watcher.resumed > 0
    assert watcher.done + watcher.resumed == watcher.size
    assert file.read_bytes() == uninterrupted
    assert not part.exists()


def test_no_sensitivity_is_measured_twice(plain: Path, text: Path, tmp_path: Path) -> None:
    asked = options(text, tokens=128, output=str(tmp_path / "c.gguf"))
    with pytest.raises(Interrupted):
        calibrate(plain, asked, progress=Stops("blk.1.attn_q.weight", 1))
    watcher = Watcher()
    calibrate(plain, asked, progress=watcher)
    done = {
        "importance",
        "blk.1.attn_v.weight",
        "blk.1.ffn_down.weight",
        "blk.1.ffn_gate.weight",
        "blk.1.ffn_up.weight",
    }
    assert set(watcher.finished) == done
    assert watcher.resumed == 128 + 12 * 64


def interrupt(*_: object) -> float:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": 256},
        {"sensitivity_tokens": 128},
        {"process_output": True},
        {"parse_special": True},
        {"base": "bf16"},
        {"context": 32},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_other_options_left_is_replaced(
    change: dict[str, Any], plain: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = {"tokens": 128, "sensitivities": False, "output": str(tmp_path / "c.gguf")}
    with monkeypatch.context() as stopped:
        stopped.setattr("qconv.measurement.saved_state.write_calibration", left_half_way)
        with pytest.raises(Interrupted):
            calibrate(plain, options(text, **out))
    assert (tmp_path / "c.gguf.part").exists()
    watcher = Watcher()
    calibrate(plain, options(text, **out | change), progress=watcher)
    assert "c.gguf.part is of another calibration, and is replaced" in watcher.notes
    assert watcher.resumed == 0


def left_half_way(path: Path, *arguments: Any) -> None:
    from qconv.calibration import write_calibration

    write_calibration(path, *arguments)
    raise KeyboardInterrupt


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"\0" * 4096])
def test_a_damaged_state_is_replaced(
    damage: Callable[[bytes], bytes], plain: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = options(text, tokens=128, sensitivities=False, output=str(tmp_path / "c.gguf"))
    part = tmp_path / "c.gguf.part"
    with monkeypatch.context() as stopped:
        stopped.setattr("qconv.measurement.saved_state.write_calibration", left_half_way)
        with pytest.raises(Interrupted):
            calibrate(plain, asked)
    part.write_bytes(damage(part.read_bytes()))
    watcher = Watcher()
    assert calibrate(plain, asked, progress=watcher).measurements.tokens == 128
    assert "c.gguf.part is of another calibration, and is replaced" in watcher.notes


def test_no_resume_starts_afresh(plain: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = options(text, tokens=128, sensitivities=False, output=str(tmp_path / "c.gguf"))
    with monkeypatch.context() as stopped:
        stopped.setattr("qconv.measurement.saved_state.write_calibration", left_half_way)
        with pytest.raises(Interrupted):
            calibrate(plain, asked)
    watcher = Watcher()
    calibrate(plain, asked, RunOptions(resume=False), watcher)
    assert watcher.resumed == 0
    assert watcher.notes[0] == "c.gguf.part is started afresh"


@pytest.mark.parametrize("type_", ["q4_0", "q8_0"])
def test_weights_that_are_quantized_already_have_no_sensitivities(
    type_: str, plain: Path, text: Path, tmp_path: Path
) -> None:
    (file,) = qconv.convert(plain, type_, output=tmp_path)
    for base in (None, "q8_0"):
        with pytest.raises(UnsupportedError) as caught:
            calibrate(file, options(text, tokens=64, base=base))
        assert str(caught.value) == (
            f"{file}: sensitivities cannot be measured of weights that are {type_.upper()} already"
            " (calibrate the unquantized model, or add --no-sensitivities)"
        )
    done = calibrate(file, options(text, tokens=64, sensitivities=False))
    assert (done.measurements.base, dict(done.measurements.sensitivities)) == (type_.upper(), {})


def test_nor_has_a_file_of_the_mix_they_are_measured_for(plain: Path, text: Path, tmp_path: Path) -> None:
    (file,) = qconv.convert(plain, "q4_k_m", output=tmp_path)
    with pytest.raises(UnsupportedError, match="sensitivities cannot be measured of weights that are Q8_0 already"):
        calibrate(file, options(text, tokens=64))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    small = ("--hidden", "64", "--heads", "4", "--kv-heads", "2", "--ffn", "96", "--layers", "1", "--vocab", "288")
    return make_checkpoint(tmp_path / "Noise", *small)


class Peeks(Watcher):
    """Looks at the temporary models each time something is done."""

    def __init__(self, cache: Path) -> None:
        super().__init__()
        self.cache = cache
        self.seen: set[str] = set()

    def advance(self, tensor: str, size: int) -> None:
        super().advance(tensor, size)
        self.seen |= {path.name for path in self.cache.glob("models/*/*.gguf")}


@pytest.mark.parametrize("base", [None, "q8_0"])
def test_a_checkpoint_is_run_from_a_temporary_file(base: str | None, checkpoint: Path, text: Path, cache: Path) -> None:
    watcher = Peeks(cache)
    done = calibrate(checkpoint, options(text, tokens=64, base=base), progress=watcher)
    assert done.path == checkpoint / "Noise-calibration.gguf"
    assert done.measurements.base == (base or "bf16").upper()
    assert len(done.measurements.sensitivities) == 8
    assert "base.gguf" in watcher.seen
    assert os.listdir(cache / "models") == []
    kind = (base or "bf16").upper()
    (told,) = (note for note in watcher.notes if "temporary" in note)
    assert told == f"the model is run from a temporary {kind} file of 0.1 MB in {cache / 'models'}"


def test_the_temporary_file_is_removed_after_an_error_too(checkpoint: Path, cache: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("A few words.")
    with pytest.raises(InputError) as caught:
        calibrate(checkpoint, options(short))
    assert str(caught.value).startswith(f"{short}: ")
    assert str(caught.value).endswith(
        f"tokens do not fill a context of {CONTEXT} (give more text, or a smaller --context)"
    )
    assert os.listdir(cache / "models") == []


def test_what_a_killed_run_left_is_removed_after_two_days(plain: Path, text: Path, cache: Path) -> None:
    old, young = cache / "models" / "run-old", cache / "models" / "run-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "base.gguf").touch()
    os.utime(old, (0, 0))
    with pytest.raises(OutputError):
        calibrate(plain, options(text, output=str(plain)))
    calibrate(plain, options(text, tokens=64, sensitivities=False, output=str(text.with_suffix(".gguf"))))
    assert os.listdir(cache / "models") == ["run-young"]


def test_an_output_that_exists_is_kept(plain: Path, text: Path, tmp_path: Path) -> None:
    output = tmp_path / "c.gguf"
    output.write_text("precious")
    asked = options(text, tokens=64, sensitivities=False, output=str(output))
    with pytest.raises(OutputError, match=r"c\.gguf: exists already \(--force replaces it, --output names another\)"):
        calibrate(plain, asked)
    assert output.read_text() == "precious"
    assert calibrate(plain, asked, RunOptions(force=True)).path == output
    assert output.read_bytes()[:4] == b"GGUF"
    with pytest.raises(OutputError, match=r"none: is not a directory \(make it first"):
        calibrate(plain, options(text, output=str(tmp_path / "none" / "c.gguf")))


def test_no_llama_cpp_is_told_before_a_model_is_made(
    checkpoint: Path, text: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LlamaCppError) as caught:
        calibrate(checkpoint, options(text))
    assert str(caught.value) == (
        "running a model takes llama.cpp, which is not installed (pip install 'qconv[runtime]')"
    )
    assert not cache.exists()


def test_without_a_probe_predictions_are_rough(
    plain: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> float:
        raise LlamaCppError("out of memory")

    monkeypatch.setattr(MODULE, "probe", fails)
    done: Calibrated = calibrate(plain, options(text, tokens=64, output=str(tmp_path)))
    assert done.notes == ("predictions are rough, since no quantized file could be run to check them: out of memory",)
    assert done.measurements.scale == 1.0


def test_a_scale_by_hand() -> None:
    assert scale_of(0.02, 0.01, 0.04) == pytest.approx(1.5)
    assert scale_of(0.02, 0.01, 0.9) == 4.0
    assert scale_of(0.02, 0.01, 0.0) == 0.25
    assert scale_of(0.0, 0.01, 0.02) == 1.0
    with pytest.raises(LlamaCppError, match="outputs are not finite"):
        scale_of(0.02, 0.01, float("nan"))
