"""Dampings that are chosen by what was held out, against the whole products in float64."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import ggml

from qconv import blocks
from qconv.measurement.damping import DAMPINGS, Trials, dampings, parted, tried
from qconv.policy import Decision
from qconv.runtime import Gram, MatrixInput
from tests.conversion.fakes import Copy, Memory

COLUMNS = 256
NAMES = tuple(f"blk.{i}.ffn_down.weight" for i in range(3))
DECISIONS = {n: Decision(n, (64, COLUMNS), "F32", "Q4_K", "", None, True) for n in NAMES}


def inputs(tokens: int, seed: int) -> NDArray[np.float64]:
    mixing = np.random.default_rng(5).standard_normal((COLUMNS, COLUMNS))
    return np.random.default_rng(seed).standard_normal((tokens, COLUMNS)) @ mixing


def weights(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((64, COLUMNS)).astype(np.float32)


def errors(first: NDArray[np.float64], held_out: NDArray[np.float64]) -> dict[float, float]:
    """Of the second of the tensors."""
    tensors = {n: Copy(n, (64, COLUMNS), "F32", arrays=Memory({n: weights(i)})) for i, n in enumerate(NAMES)}
    trials = Trials([DECISIONS[NAMES[1]]], tensors, 2)
    h = (first.T @ first).astype(np.float32)
    every = h + (held_out.T @ held_out).astype(np.float32)
    trials.round([Gram((NAMES[1],), 0, len(first), h)])
    return trials.compare([Gram((NAMES[1],), 0, len(first) + len(held_out), every)])[NAMES[1]]


def test_errors_are_those_on_what_was_held_out() -> None:
    first, held_out = inputs(1000, 1), inputs(200, 2)
    h, other = first.T @ first, held_out.T @ held_out
    wanted = {}
    for damping in DAMPINGS:
        factor = blocks.factorize(blocks.lower_panels(h), COLUMNS, damping)
        context = blocks.EncodeContext(importance=np.diag(h).astype(np.float32), factor=factor)
        off = weights(1) - ggml.decode("Q4_K", blocks.encode("Q4_K", weights(1), context=context))
        wanted[damping] = np.einsum("ij,jk,ik->", off, other, off)
    assert errors(first, held_out) == pytest.approx(wanted, rel=0.02)


def test_fewer_tokens_ask_for_more() -> None:
    few, many = (errors(inputs(tokens, 1), inputs(2000, 2)) for tokens in (100, 20_000))
    assert min(few, key=few.__getitem__) > min(many, key=many.__getitem__)


def test_of_a_role_three_layers_are_tried_and_no_experts() -> None:
    names = [f"blk.{i}.ffn_down.weight" for i in range(12)]
    every = [MatrixInput((name,), COLUMNS, 1) for name in names]
    decisions = {n: Decision(n, (64, COLUMNS), "F32", "Q4_K", "", None, True) for n in names}
    assert tried(every, decisions) == {names[2], names[6], names[10]}
    assert tried(every[:2], decisions) == set(names[:2])
    assert not tried([MatrixInput((names[0],), COLUMNS, 4)], decisions)
    assert not tried(every, {})
    assert tried([MatrixInput((name,), 4096, 1) for name in names], decisions) == {names[2], names[6], names[10]}
    assert tried([MatrixInput((name,), 4352, 1) for name in names], decisions) == {names[6]}


def test_of_wide_inputs_fewer_are_tried() -> None:
    assert dampings(4096) == DAMPINGS
    assert dampings(4352) == (0.01, 0.03, 0.1)


def test_a_tenth_of_the_chunks_is_held_out() -> None:
    tokens = np.arange(25 * 8, dtype=np.int32)
    first, held_out = parted(tokens, 8)
    assert held_out.reshape(-1, 8)[:, 0].tolist() == [9 * 8, 19 * 8]
    assert sorted([*first, *held_out]) == tokens.tolist()
    assert [len(part) for part in parted(tokens[:24], 8)] == [16, 8]
    assert [len(part) for part in parted(tokens[:8], 8)] == [8, 0]
