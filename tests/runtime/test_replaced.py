"""Weights replaced in memory act as a file that holds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import qconv
from qconv.errors import UsageError, WeightError
from qconv.runtime import Session
from tests.runtime import models

Tokens = NDArray[np.int32]
NAMES = ["token_embd.weight", "blk.0.attn_norm.weight", "blk.1.attn_k.weight", "blk.0.ffn_down.weight", "output.weight"]


def other(name: str, experts: bool = False) -> NDArray[np.float32]:
    return models.weights(experts, seed=9)[name]


@pytest.mark.parametrize("name", NAMES)
def test_logits_become_those_of_a_file_with_these_weights(
    name: str, session: Session, tokens: Tokens, tmp_path: Path
) -> None:
    rows = other(name)
    before = list(session.logits(tokens[:64]))
    with Session(models.llama(tmp_path / "other.gguf", changed={name: rows}), context=64) as written:
        expected = list(written.logits(tokens[:64]))
    assert not np.array_equal(before, expected)
    with session.replaced(name, np.atleast_2d(rows)):
        assert np.array_equal(list(session.logits(tokens[:64])), expected)
        assert session.read(name).tobytes() == rows.tobytes()
    assert np.array_equal(list(session.logits(tokens[:64])), before)


def test_experts_are_replaced_in_blocks_of_rows(moe: Path, tokens: Tokens, tmp_path: Path) -> None:
    name = "blk.1.ffn_up_exps.weight"
    rows = other(name, experts=True)
    with Session(models.llama(tmp_path / "m.gguf", experts=True, changed={name: rows}), context=64) as written:
        expected = list(written.logits(tokens[:64]))
    with Session(moe, context=64, writable=True) as session:
        before = list(session.logits(tokens[:64]))
        blocks = np.array_split(rows.reshape(-1, models.COLUMNS), 7)
        with session.replaced(name, iter(blocks)):
            assert np.array_equal(list(session.logits(tokens[:64])), expected)
        assert np.array_equal(list(session.logits(tokens[:64])), before)


@pytest.mark.parametrize("block_type", ["Q8_0", "BF16", "F16", "Q4_0"])
def test_rows_are_encoded_as_the_tensor_is(block_type: str, tmp_path: Path, tokens: Tokens) -> None:
    # Q4_0 is a type that llama.cpp would repack for the processor in a session that is not writable
    name = "blk.0.attn_q.weight"
    weights: dict[str, NDArray[np.generic]] = dict(models.weights())
    weights[name] = qconv.quantize(models.weights()[name], block_type)
    types = {name.replace(".", "_"): block_type}
    path = models.write(tmp_path / "model.gguf", weights, models.metadata(), **types)
    weights[name] = qconv.quantize(other(name), block_type)
    with Session(
        models.write(tmp_path / "other.gguf", weights, models.metadata(), **types), context=64, writable=True
    ) as w:
        expected = list(w.logits(tokens[:64]))
    with Session(path, context=64, writable=True) as session:
        assert session.tensors()[name].type == block_type
        before = session.read(name)
        with session.replaced(name, other(name)):
            assert session.read(name).tobytes() == weights[name].tobytes()
            assert np.array_equal(list(session.logits(tokens[:64])), expected)
        assert np.array_equal(session.read(name), before)


def test_replacements_may_overlap(session: Session) -> None:
    name = "blk.0.ffn_down.weight"
    before = session.read(name)
    rows = other(name)
    with pytest.raises(RuntimeError, match="stop"), session.replaced(name, [rows[:10], rows[10:20]]):
        raise RuntimeError("stop")
    assert np.array_equal(session.read(name), before)


def test_what_does_not_fit_is_refused_and_nothing_is_changed(session: Session, plain: Path) -> None:
    name = "blk.0.ffn_down.weight"
    before, rows = session.read(name), other("blk.0.ffn_down.weight")
    for bad in (rows[:, :-1], np.vstack([rows, rows[:1]]), rows[0]):
        with pytest.raises(UsageError, match=r"has 64 rows of 96"), session.replaced(name, bad):
            pass
    with pytest.raises(UsageError, match="has 64 rows of 96"), session.replaced(name, [rows[:50], rows[:50]]):
        pass
    with pytest.raises(WeightError, match="NaN"), session.replaced(name, rows * np.float32(np.nan)):
        pass
    with (
        pytest.raises(UsageError, match=r"tensor 'blk\.7\.x': is not a weight tensor"),
        session.replaced("blk.7.x", rows),
    ):
        pass
    assert np.array_equal(session.read(name), before)
    with (
        Session(plain, context=64) as mapped,
        pytest.raises(UsageError, match="not writable"),
        mapped.replaced(name, rows),
    ):
        pass
