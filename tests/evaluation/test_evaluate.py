"""Evaluations of small models: llama-perplexity's figures, and outputs that are kept."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import qconv
from qconv import checkpoints, gguf
from qconv.errors import InputError, Interrupted, OutputError, UsageError
from qconv.evaluation import Evaluation, evaluate
from qconv.options import EvaluateOptions
from qconv.runtime import Divergence, Session
from qconv.types import TensorInfo, Value, ValueType
from tests.cli.commands import make_checkpoint
from tests.conversion.fakes import Watcher
from tests.runtime import models

MODULE = importlib.import_module("qconv.evaluation.evaluate")  # the room offers the function by that name
GOLDEN = json.loads((Path(models.__file__).parent / "goldens" / "perplexity.json").read_text())
CONTEXT = 64
SMALL = ("--hidden", "64", "--heads", "4", "--kv-heads", "2", "--ffn", "96", "--layers", "1", "--vocab", "288")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "cache" / "qconv"
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: directory)
    return directory


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """As llama-perplexity was given it: with one newline more, which is left out."""
    path = tmp_path / "text.txt"
    path.write_text(models.TEXT + "\n")
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.llama(tmp_path_factory.mktemp("models") / "plain.gguf")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.llama(tmp_path_factory.mktemp("models") / "other.gguf", changed=models.disturbed())


def options(text: Path, **more: Any) -> EvaluateOptions:
    return EvaluateOptions(text=(str(text),), **{"context": CONTEXT, **more})


def test_figures_are_llama_perplexity_s(plain: Path, other: Path, text: Path) -> None:
    watcher = Watcher()
    changed, same = evaluate([other, plain], plain, options(text), progress=watcher)
    assert changed.path == other
    assert changed.divergence.mean == pytest.approx(GOLDEN["mean"], rel=1e-3)
    assert changed.quantile(0.99) == pytest.approx(GOLDEN["99%"], rel=5e-3)
    assert changed.quantile(0.5) == pytest.approx(GOLDEN["median"], rel=5e-3)
    assert changed.perplexity == pytest.approx(GOLDEN["other's perplexity"], rel=1e-3)
    assert changed.ratio == pytest.approx(GOLDEN["other's perplexity"] / GOLDEN["perplexity"], rel=1e-3)
    assert 100 * changed.same_top == pytest.approx(GOLDEN["same top"], abs=0.2)
    weights = sum(array.size for array in models.weights().values())
    assert (changed.size, changed.bits) == (other.stat().st_size, 32.0)
    assert weights * 4 < changed.size < weights * 4 + 20_000
    assert changed.predicted is None

    assert same.perplexity == pytest.approx(GOLDEN["perplexity"], rel=1e-3)
    # hidden states are kept in 16 bits
    assert abs(same.divergence.mean) < 1e-5
    assert same.ratio == pytest.approx(1, abs=1e-4)
    assert same.same_top > 0.99
    assert watcher.done == watcher.size


def test_errors_are_standard_errors_of_means() -> None:
    """By hand: three positions; of the mean of 1, 2, 6 the standard error is √(14/2) / √3."""
    nll, base = np.array([1.0, 2.0, 6.0]), np.array([1.0, 1.0, 4.0])
    kl, same = np.array([0.0, 0.3, 0.6]), np.array([True, True, False])
    result = Evaluation(Path("x"), 1, 4.5, None, Divergence(kl, nll, base, same))
    assert result.perplexity == pytest.approx(np.exp(3))
    assert result.perplexity_error == pytest.approx(np.exp(3) * np.sqrt(7 / 3))
    assert result.ratio == pytest.approx(np.exp(1))
    assert result.ratio_error == pytest.approx(np.exp(1) * np.sqrt(1 / 3))
    assert result.same_top == pytest.approx(2 / 3)
    assert result.same_top_error == pytest.approx(1 / 3)
    assert result.quantile(0.75) == pytest.approx(0.45)
    single = Evaluation(Path("x"), 1, 4.5, None, Divergence(kl[:1], nll[:1], base[:1], same[:1]))
    assert (single.perplexity_error, single.ratio_error, single.same_top_error) == (0, 0, 0)


def closed(*_: object) -> None:
    raise AssertionError("the base model is opened")


def test_a_checkpoint_s_outputs_are_kept(
    text: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    checkpoint = make_checkpoint(tmp_path / "Noise", *SMALL)
    (file,) = qconv.convert(checkpoint, "q4_0", output=tmp_path)
    (first,) = evaluate([file], checkpoint, options(text))
    assert first.divergence.mean > 1e-4
    assert os.listdir(cache / "models") == []
    (kept,) = (cache / "outputs").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(MODULE, "base_model", closed)
        (second,) = evaluate([file], checkpoint, options(text))
        np.testing.assert_array_equal(second.divergence.kl, first.divergence.kl)
        for more in ({"context": 32}, {"tokens": 64}, {"base": "q8_0"}):
            with pytest.raises(AssertionError, match="the base model is opened"):
                list(evaluate([file], checkpoint, options(text, **more)))
        (checkpoint / "model.safetensors").touch()
        with pytest.raises(AssertionError, match="the base model is opened"):
            list(evaluate([file], checkpoint, options(text)))
    assert list((cache / "outputs").iterdir()) == [kept]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-4096],
        lambda data: b"\0" * len(data),
        lambda data: data.replace(b"head", b"heap", 1),
        lambda data: data.replace(b"outputs", b"0utputs"),
    ],
    ids=["empty", "cut", "zeros", "without a head", "without outputs"],
)
def test_outputs_that_are_damaged_are_computed_again(
    damage: Callable[[bytes], bytes], plain: Path, other: Path, text: Path, cache: Path
) -> None:
    asked = options(text, tokens=128)
    (first,) = evaluate([other], plain, asked)
    (kept,) = (cache / "outputs").iterdir()
    sound = kept.read_bytes()
    kept.write_bytes(damage(sound))
    assert kept.read_bytes() != sound
    (second,) = evaluate([other], plain, asked)
    np.testing.assert_array_equal(second.divergence.kl, first.divergence.kl)
    assert kept.read_bytes() == sound


def test_outputs_are_forgotten_after_a_month(plain: Path, other: Path, text: Path, cache: Path) -> None:
    old = cache / "outputs" / "old.gguf"
    old.parent.mkdir(parents=True)
    old.touch()
    os.utime(old, (0, 0))
    (_,) = evaluate([other], plain, options(text, tokens=128))
    assert not old.exists()
    assert len(os.listdir(old.parent)) == 1


def test_logits_go_through_a_file(
    plain: Path, other: Path, text: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = options(text, tokens=128)
    (by_states,) = evaluate([other], plain, asked)
    (kept,) = (cache / "outputs").iterdir()
    kept.unlink()

    def hidden(self: Session, *_: object, **__: object) -> Iterator[NDArray[np.float32]]:
        raise UsageError("its logits are not those of its output matrix alone")

    monkeypatch.setattr(Session, "hidden", hidden)
    (by_logits,) = evaluate([other], plain, asked)
    np.testing.assert_allclose(by_logits.divergence.kl, by_states.divergence.kl, atol=1e-4)  # states have 16 bits
    assert gguf.read(kept).tensors.keys() == {"outputs"}
    assert gguf.read(kept).tensors["outputs"].info.shape == (2 * 31, models.VOCABULARY)

    kept.unlink()
    monkeypatch.setattr("qconv.evaluation.outputs._TOLD", 10)
    monkeypatch.setattr("qconv.evaluation.outputs._LARGEST", 10)
    watcher = Watcher()
    (again,) = evaluate([other], plain, asked, progress=watcher)
    np.testing.assert_array_equal(again.divergence.kl, by_logits.divergence.kl)
    assert [note for note in watcher.notes if note.endswith(f"GB in {cache / 'outputs'}")]
    assert not kept.exists()

    monkeypatch.setattr("qconv.platform.free_bytes", lambda path: 1000)
    with pytest.raises(OutputError, match=r"bytes are needed for .* outputs, and 1,000 are free \(take fewer tokens"):
        list(evaluate([other], plain, asked))
    assert list((cache / "outputs").iterdir()) == []


def renamed(path: Path) -> Path:
    """The same model, for whose tokenizer ``a`` and ``b`` have changed places."""
    keys = models.metadata()
    tokens = list(keys["tokenizer.ggml.tokens"].data)
    a, b = tokens.index("<0x61>"), tokens.index("<0x62>")
    tokens[a], tokens[b] = tokens[b], tokens[a]
    return models.write(path, models.weights(), keys | {"tokenizer.ggml.tokens": Value.array(ValueType.STRING, tokens)})


def test_a_file_with_another_vocabulary_is_refused(plain: Path, other: Path, text: Path, tmp_path: Path) -> None:
    stranger = renamed(tmp_path / "stranger.gguf")
    hint = r"\(a file is compared with the model that it was made from\)"
    with pytest.raises(InputError, match=rf"plain\.gguf: takes the text for other tokens than the files do {hint}"):
        list(evaluate([stranger], plain, options(text)))
    results = evaluate([other, stranger], plain, options(text))
    assert next(results).path == other
    with pytest.raises(
        InputError, match=rf"stranger\.gguf: takes the text for other tokens than the unquantized model does {hint}"
    ):
        next(results)


def test_what_cannot_be_opened_is_told_before_anything_is_run(plain: Path, text: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none"):
        next(evaluate([plain, tmp_path / "none.gguf"], plain, options(text)))
    with pytest.raises(InputError, match="none"):
        next(evaluate([plain], tmp_path / "none.gguf", options(text)))
    with pytest.raises(InputError, match=r"Noise: is a checkpoint, not a GGUF file \(convert it first; --against"):
        next(evaluate([make_checkpoint(tmp_path / "Noise", *SMALL)], plain, options(text)))
    with pytest.raises(InputError, match="none: cannot be read"):
        next(evaluate([plain], plain, options(tmp_path / "none")))


def test_what_is_done_is_kept_when_it_is_interrupted(
    plain: Path, other: Path, text: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stops(Watcher):
        def advance(self, tensor: str, size: int) -> None:
            if tensor == other.name:
                raise KeyboardInterrupt

    asked = options(text, tokens=128)
    with pytest.raises(Interrupted, match=r"stopped \(the unquantized model's outputs are kept"):
        list(evaluate([other], plain, asked, progress=Stops()))
    monkeypatch.setattr(MODULE, "base_model", closed)
    (result,) = evaluate([other], plain, asked)
    assert len(result.divergence.kl) == 2 * 31


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([0.0, 3.0, 1.0], [("b", 0.75), ("c", 0.25)]),
        ([0.0, 3.0], []),  # of other tensors
        ([0.0, -1.0, 2.0], []),
        ([0.0, float("nan"), 1.0], []),
        ([0.0, 0.0, 0.0], []),
    ],
    ids=str,
)
def test_shares_are_those_the_file_says(losses: list[float], expected: list[tuple[str, float]], tmp_path: Path) -> None:
    keys = {"qconv.size.predicted_by_tensor": Value.array(ValueType.FLOAT32, np.array(losses, np.float32))}
    infos = [TensorInfo(name, "F32", (1, 8)) for name in "abc"]
    layout = gguf.header({"general.architecture": Value.string("llama"), **keys}, infos)
    (tmp_path / "x.gguf").write_bytes(layout.header + bytes(layout.size - len(layout.header)))
    with checkpoints.open(tmp_path / "x.gguf") as checkpoint:
        assert [(share.name, share.share) for share in MODULE.tensor_shares(checkpoint)] == expected
