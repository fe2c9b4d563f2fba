"""Dampings that are chosen by what was held out, against the whole products in float64."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import ggml

from qconv import blocks
from qconv.measurement.damping import DAMPINGS, Trials, parted, tried
from qconv.policy import Decision
from qconv.runtime import Gram, MatrixInput
from tests.conversion.fakes import Copy, Memory

COLUMNS = 256
NAMES = tuple(f"blk.{i}.ffn_down.weight" for i in range(3))
INPUTS = [MatrixInput((name,), COLUMNS, 1) for name in NAMES]
DECISIONS = {n: Decision(n, (64, COLUMNS), "F32", "Q4_K", "", None, True) for n in NAMES}


def inputs(tokens: int, seed: int) -> NDArray[np.float64]:
    mixing = np.random.default_rng(5).standard_normal((COLUMNS, COLUMNS))
    return np.random.default_rng(seed).standard_normal((tokens, COLUMNS)) @ mixing


def weights(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((64, COLUMNS)).astype(np.float32)


def trials(first: NDArray[np.float64], held_out: NDArray[np.float64]) -> dict[str, float]:
    arrays = {n: weights(i) for i, n in enumerate(NAMES)}
    tensors = {n: Copy(n, (64, COLUMNS), "F32", arrays=Memory(arrays)) for n in NAMES}
    (name,) = tried(INPUTS, DECISIONS).values()
    made = Trials([DECISIONS[name]], tensors)
    h = (first.T @ first).astype(np.float32)
    every = h + (held_out.T @ held_out).astype(np.float32)
    made.round(Gram((n,), 0, len(first), h) for n in made.names)
    return made.compare(Gram((n,), 0, len(first) + len(held_out), every) for n in made.names)


@pytest.mark.parametrize("tokens", [100, 20_000])
def test_the_largest_is_chosen_of_those_that_do_about_as_well_on_what_was_held_out(tokens: int) -> None:
    first, held_out = inputs(tokens, 1), inputs(2000, 2)
    h, other = first.T @ first, held_out.T @ held_out
    rows = weights(1)  # of the middle layer
    errors = []
    for damping in DAMPINGS:
        factor = blocks.factorize(blocks.lower_panels(h), COLUMNS, damping)
        context = blocks.EncodeContext(importance=np.diag(h).astype(np.float32), factor=factor)
        off = rows - ggml.decode("Q4_K", blocks.encode("Q4_K", rows, context=context))
        errors.append(np.einsum("ij,jk,ik->", off, other, off))
    wanted = [d for d, error in zip(DAMPINGS, errors, strict=True) if error <= min(errors) * 1.01]
    assert trials(first, held_out) == {"ffn_down": wanted[-1]}


def test_fewer_tokens_ask_for_more() -> None:
    few, many = (trials(inputs(tokens, 1), inputs(2000, 2))["ffn_down"] for tokens in (100, 20_000))
    assert few > many


def test_the_middle_layer_is_tried_and_no_experts() -> None:
    experts = [MatrixInput((NAMES[0],), COLUMNS, 4)]
    assert tried(INPUTS, DECISIONS) == {"ffn_down": NAMES[1]}
    assert not tried(experts, DECISIONS)


def test_a_tenth_of_the_chunks_is_held_out() -> None:
    tokens = np.arange(25 * 8, dtype=np.int32)
    first, held_out = parted(tokens, 8)
    assert held_out.reshape(-1, 8)[:, 0].tolist() == [9 * 8, 19 * 8]
    assert sorted([*first, *held_out]) == tokens.tolist()
    assert [len(part) for part in parted(tokens[:24], 8)] == [16, 8]
    assert [len(part) for part in parted(tokens[:8], 8)] == [8, 0]
