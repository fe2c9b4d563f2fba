"""Logits, and figures made of them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from qconv.errors import UsageError
from qconv.runtime import Head, Reference, Session
from qconv.runtime.scores import Scorer
from tests.runtime import models, reference

Tokens = NDArray[np.int32]
GOLDEN = json.loads((Path(__file__).parent / "goldens" / "perplexity.json").read_text())


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.llama(tmp_path_factory.mktemp("models") / "other.gguf", changed=models.disturbed())


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    x = logits.astype(np.float64)
    x -= x.max(1, keepdims=True)
    log_probabilities: NDArray[np.float64] = x - np.log(np.exp(x).sum(1, keepdims=True))
    return log_probabilities


def test_logits_are_those_of_the_model(session: Session, tokens: Tokens) -> None:
    for first in (None, 0, 62):
        (logits,) = session.logits(tokens[1:65], first=first)
        chunk = np.concatenate([[models.BOS], tokens[2:65]]).astype(np.int32)
        begin = 32 if first is None else first
        expected = reference.forward(models.weights(), chunk)[1][begin:-1]
        assert logits.shape == expected.shape
        assert np.abs(logits - expected).max() < 5e-3


def test_logits_of_a_context_longer_than_a_batch(plain: Path, session: Session, tokens: Tokens) -> None:
    with Session(plain, context=64, batch=24) as short:
        for first in (0, 30, 47, 50):
            for a, b in zip(short.logits(tokens, first=first), session.logits(tokens, first=first), strict=True):
                assert a.shape == b.shape
                assert np.abs(a - b).mean() < 5e-3, "attention is computed in float16, in another order"
        assert short.importance(tokens).sums["blk.0.attn_q.weight"].counts.tolist() == [len(tokens) // 64 * 64]


def test_perplexity_is_llama_perplexity_s(session: Session) -> None:
    nll = session.likelihoods(session.tokenize(models.TEXT))
    assert np.exp(nll.mean()) == pytest.approx(GOLDEN["perplexity"], rel=1e-3)


def test_kl_divergence_is_llama_perplexity_s(session: Session, other: Path, tokens: Tokens) -> None:
    logits = list(session.logits(tokens))
    with Session(other, context=64) as changed:
        d = changed.kl_divergence(Reference(tokens, logits))
    assert d.mean == pytest.approx(GOLDEN["mean"], rel=1e-3)
    assert d.kl.max() == pytest.approx(GOLDEN["maximum"], rel=5e-3)
    assert np.quantile(d.kl, 0.99) == pytest.approx(GOLDEN["99%"], rel=5e-3)
    assert np.median(d.kl) == pytest.approx(GOLDEN["median"], rel=5e-3)
    assert np.exp(d.nll.mean()) == pytest.approx(GOLDEN["other's perplexity"], rel=1e-3)
    assert np.exp(d.base_nll.mean()) == pytest.approx(GOLDEN["perplexity"], rel=1e-3)
    assert 100 * d.same_top.mean() == pytest.approx(GOLDEN["same top"], abs=0.2)


@pytest.mark.parametrize("vocabulary", [2, 259, 50_000])
def test_scores_are_numpy_s_in_float64(vocabulary: int, pool: ThreadPoolExecutor) -> None:
    random = np.random.default_rng(vocabulary)
    base = (random.standard_normal((17, vocabulary)) * 3).astype(np.float32)
    logits = base + (random.standard_normal(base.shape) / 10).astype(np.float32)
    targets = random.integers(0, vocabulary, 17, np.int32)
    scorer = Scorer(pool)
    d = scorer.divergence(base, logits, targets)
    p, q = log_softmax(base), log_softmax(logits)
    rows = np.arange(17)
    assert np.allclose(d.nll, -q[rows, targets], atol=1e-6)
    assert np.allclose(d.base_nll, -p[rows, targets], atol=1e-6)
    assert np.allclose(scorer.likelihoods(logits, targets), d.nll, atol=0)
    likely = p > -16
    assert np.allclose(d.kl, np.where(likely, np.exp(p) * (p - q), 0).sum(1), atol=2e-6)
    assert np.array_equal(d.same_top, p.argmax(1) == q.argmax(1))


def test_a_base_s_hidden_states_stand_for_its_logits(session: Session, other: Path, tokens: Tokens) -> None:
    logits, states, head = list(session.logits(tokens)), list(session.hidden(tokens)), session.head()
    assert (head.type, head.shape) == ("F32", (models.VOCABULARY, models.COLUMNS))
    assert [s.shape for s in states] == [(31, models.COLUMNS)] * len(logits)
    halves = [s.astype(np.float16) for s in states]
    with Session(other, context=64) as changed:
        by_logits = changed.kl_divergence(Reference(tokens, logits))
        by_states = changed.kl_divergence(Reference(tokens, states, head))
        by_halves = changed.kl_divergence(Reference(tokens, halves, head))
    assert np.abs(by_states.kl - by_logits.kl).max() < 1e-5
    assert by_halves.mean == pytest.approx(by_logits.mean, rel=1e-3)


def test_a_kept_reference_serves_again(session: Session, tokens: Tokens) -> None:
    kept = session.keep(tokens, first=0)
    assert np.abs(session.kl_divergence(kept).kl).max() < 1e-6
    assert len(session.kl_divergence(kept).kl) == len(tokens) // 64 * 63
    session.forget(kept)
    with pytest.raises(UsageError, match="is not kept any more"):
        session.kl_divergence(kept)


def test_a_base_that_does_not_fit_is_refused(session: Session, tokens: Tokens) -> None:
    logits = list(session.logits(tokens))
    with pytest.raises(UsageError, match=f"outputs for {len(logits) - 1} chunks of a text of {len(logits)}"):
        session.kl_divergence(Reference(tokens, logits[1:]))
    with pytest.raises(UsageError, match="the base has logits of"):
        session.kl_divergence(Reference(tokens, [x[1:] for x in logits]))
    head = session.head()
    with pytest.raises(UsageError, match="is no F32 of"):
        session.kl_divergence(Reference(tokens, logits, Head("F32", (9, 64), head.data)))
    with pytest.raises(UsageError, match="do not fit a head of 64"):
        session.kl_divergence(Reference(tokens, logits, head))


def test_positions_without_a_next_token_are_refused(session: Session, tokens: Tokens) -> None:
    for first in (-1, 63):
        with pytest.raises(UsageError, match="no position from"):
            session.logits(tokens, first=first)
