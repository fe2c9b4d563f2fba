"""Sums of squares: llama-imatrix's own, those of a model computed in float64, and the order they are taken in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from qconv.errors import UsageError, WeightError
from qconv.runtime import Importance, Session
from qconv.runtime.importance import accumulate, add_peaks
from tests.runtime import models, reference

GOLDENS = Path(__file__).parent / "goldens"
Tokens = NDArray[np.int32]


def golden(name: str) -> dict[str, NDArray[Any]]:
    """What llama-imatrix wrote (``scripts/record_runtime.py``), by ``TENSOR.in_sum2`` and the like."""
    return {t.name: np.asarray(t.data) for t in gguf.GGUFReader(GOLDENS / f"{name}-imatrix.gguf").tensors}


def measured(importance: Importance) -> dict[str, NDArray[Any]]:
    """The same shapes as ``golden``'s."""
    return {
        f"{name}.{kind}": array
        for name, sums in importance.sums.items()
        for kind, array in (("in_sum2", sums.squares), ("in_sum", sums.sums), ("counts", sums.counts[:, None]))
    }


@pytest.mark.parametrize("name", ["plain", "experts"])
def test_sums_are_llama_imatrix_s(name: str, plain: Path, moe: Path, tokens: Tokens) -> None:
    # bit for bit on the machine they were recorded on; elsewhere the library's kernels and exp round differently
    expected = golden(name)
    with Session(moe if name == "experts" else plain, context=64, batch=256) as session:
        actual = measured(session.importance(session.tokenize(models.TEXT), output=True))
    assert {key for key in expected if not key.endswith(".stats")} == actual.keys()
    for key, array in actual.items():
        theirs = expected[key].reshape(array.shape)
        if key.endswith("counts"):
            assert np.array_equal(array, theirs), key
        else:
            assert np.abs(array - theirs).max() <= 2e-4 * np.abs(theirs).max(), key


def totals(inputs: list[tuple[int, NDArray[np.float64]]], matrices: int) -> NDArray[np.float64]:
    columns = inputs[0][1].shape[1]
    out = np.zeros((matrices, columns))
    for matrix, rows in inputs:
        out[matrix] += (rows * rows).sum(0)
    return out


@pytest.mark.parametrize("experts", [False, True])
def test_sums_are_those_of_the_model_in_float64(experts: bool, tmp_path: Path, tokens: Tokens) -> None:
    # values of zero leave attention, which llama.cpp computes in float16, out of it
    changed = {f"blk.{i}.attn_v.weight": np.zeros((32, 64), np.float32) for i in range(models.LAYERS)}
    path = models.llama(tmp_path / "model.gguf", experts=experts, changed=changed)
    with Session(path, context=64, batch=128) as session:
        importance = session.importance(tokens, output=True)
        chunks = session.chunks(tokens)
    chunks[:, 0] = models.BOS
    weights = models.weights(experts) | changed
    expected: dict[str, list[tuple[int, NDArray[np.float64]]]] = {}
    for chunk in chunks:
        for name, rows in reference.forward(weights, chunk)[0].items():
            expected.setdefault(name, []).extend(rows)
    assert importance.sums.keys() == expected.keys()
    for name, inputs in expected.items():
        sums = importance.sums[name]
        matrices = models.EXPERTS if "exps" in name else 1
        squares = totals(inputs, matrices)
        assert np.allclose(sums.squares, squares, rtol=1e-5, atol=1e-5 * squares.max()), name
        counts = [sum(len(rows) for at, rows in inputs if at == m) for m in range(matrices)]
        assert sums.counts.tolist() == counts, name
    assert np.array_equal(importance.tokens, np.bincount(chunks.reshape(-1), minlength=models.VOCABULARY))


def test_attention_s_output_is_seen_as_it_is(session: Session, tokens: Tokens) -> None:
    chunk = session.chunks(tokens)[0].copy()
    chunk[0] = models.BOS
    expected = reference.forward(models.weights(), chunk)[0]["blk.1.attn_output.weight"][0][1]
    sums = session.importance(chunk).sums["blk.1.attn_output.weight"]
    assert np.allclose(sums.squares[0], (expected**2).sum(0), rtol=5e-3)


@pytest.mark.parametrize("columns", [2, 3, 7, 16, 64, 257])
@pytest.mark.parametrize("rows", [1, 15, 16, 255, 256, 257, 600])
def test_rows_are_added_one_after_the_other(rows: int, columns: int) -> None:
    random = np.random.default_rng(rows * columns)
    x = (random.standard_normal((rows, columns)) * 10.0 ** random.integers(-4, 4, (rows, 1))).astype(np.float32)
    squares, sums = random.random((2, columns)).astype(np.float32)
    expected_squares, expected_sums = squares.copy(), sums.copy()
    for row in x:
        expected_squares = expected_squares + row * row
        expected_sums = expected_sums + row
    accumulate(squares, sums, x)
    assert np.array_equal(squares, expected_squares)
    assert np.array_equal(sums, expected_sums)


def test_peaks_are_of_every_32_and_every_256_columns() -> None:
    """Of one row in four, which stand for all; rows of 256 columns whose largest magnitudes are known."""
    rows = np.zeros((8, 256), np.float32)
    rows[0, [3, 31, 32, 255]] = [2, -3, 5, -7]
    rows[4, [0, 64]] = [1, 4]
    rows[1] = 100  # not looked at
    peaks = np.zeros(9)
    add_peaks(peaks, rows)
    # each of the two rows looked at counts 8 / 2 times
    assert peaks.tolist() == [4 * x for x in (9 + 1, 25, 16, 0, 0, 0, 0, 49, 49 + 16)]
    add_peaks(peaks, rows[:1])
    assert peaks.tolist() == [49, 125, 64, 0, 0, 0, 0, 245, 309]
    add_peaks(peaks, rows[:0])
    assert peaks[0] == 49


@pytest.mark.parametrize(("columns", "count"), [(96, 3), (512, 18), (48, 0)])
def test_only_widths_that_rows_are_whole_numbers_of_have_peaks(columns: int, count: int) -> None:
    peaks = np.zeros(count)
    add_peaks(peaks, np.full((4, columns), -2, np.float32))
    assert peaks.tolist() == [16.0] * count


def test_a_text_in_parts_has_the_sums_of_the_whole(session: Session, tokens: Tokens) -> None:
    whole = measured(session.importance(tokens))
    first = session.importance(tokens[: 4 * 64])
    again = session.importance(tokens[4 * 64 :], start=first)
    assert all(np.array_equal(array, whole[key]) for key, array in measured(again).items())
    assert first.sums["blk.0.attn_q.weight"].counts.tolist() == [4 * 64], "the first part is left as it was"
    with session.collect() as collection:
        collection.run(tokens[: 4 * 64])
        assert np.array_equal(collection.importance().tokens, first.tokens)
        collection.run(tokens[4 * 64 :])
        assert all(np.array_equal(array, whole[key]) for key, array in measured(collection.importance()).items())


def test_the_output_matrix_is_left_out_unless_asked_for(session: Session, tokens: Tokens) -> None:
    assert "output.weight" not in session.importance(tokens[:64]).sums
    assert "output.weight" in session.importance(tokens[:64], output=True).sums


def test_progress_counts_tokens(session: Session, tokens: Tokens) -> None:
    steps: list[int] = []
    session.importance(tokens[: 5 * 64 + 7], progress=steps.append)
    assert steps == [128, 128, 64]


def test_activations_that_are_not_finite_are_refused(tmp_path: Path, tokens: Tokens) -> None:
    norm = np.full(64, 1e30, np.float32)
    path = models.llama(tmp_path / "model.gguf", changed={"blk.0.attn_norm.weight": norm})
    with Session(path, context=64) as session:
        with pytest.raises(WeightError, match=r"tensor 'blk\.0\.attn_\w\.weight': its input is not finite"):
            session.importance(tokens)
        with pytest.raises(WeightError, match="not finite"):
            list(session.gram(tokens, ["blk.0.ffn_down.weight"]))


def test_too_few_tokens_are_refused(session: Session) -> None:
    with pytest.raises(UsageError, match="63 tokens do not fill a context of 64"):
        session.importance(np.ones(63, np.int32))


def test_tokens_must_be_the_vocabulary_s(session: Session) -> None:
    for token in (-1, models.VOCABULARY):
        with pytest.raises(UsageError, match="tokens must be from 0 to 258"):
            session.importance(np.full(64, token, np.int32))
