"""H = Σ x xᵀ of matrices' inputs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from qconv.errors import UsageError
from qconv.runtime import Session
from qconv.runtime.gram import PANEL, Triangle
from tests.runtime import models, reference

Tokens = NDArray[np.int32]


def test_inputs_tell_which_tensors_share_one(session: Session, moe: Path) -> None:
    names = [set(i.tensors) for i in session.inputs()]
    assert {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"} in names
    assert {"blk.1.ffn_gate.weight", "blk.1.ffn_up.weight"} in names
    assert {"output.weight"} in names
    assert len(names) == 4 * models.LAYERS + 1
    assert {i.columns for i in session.inputs() if "blk.0.ffn_down.weight" in i.tensors} == {models.FEED_FORWARD}
    with Session(moe, context=64) as session:
        by_tensor = {name: i for i in session.inputs() for name in i.tensors}
    assert set(by_tensor["blk.0.ffn_up_exps.weight"].tensors) == {
        "blk.0.ffn_gate_exps.weight",
        "blk.0.ffn_up_exps.weight",
    }
    assert by_tensor["blk.0.ffn_down_exps.weight"].matrices == models.EXPERTS
    assert by_tensor["blk.0.ffn_gate_inp.weight"].matrices == 1


def test_tensors_and_tables(session: Session) -> None:
    weights = models.weights()
    assert {name: t.shape for name, t in session.tensors().items()} == {n: a.shape for n, a in weights.items()}
    assert {t.type for t in session.tensors().values()} == {"F32"}
    assert session.tables() == ("token_embd.weight",)


@pytest.mark.parametrize("experts", [False, True])
def test_h_is_that_of_the_model_in_float64(experts: bool, tmp_path: Path, tokens: Tokens) -> None:
    changed = {f"blk.{i}.attn_v.weight": np.zeros((32, 64), np.float32) for i in range(models.LAYERS)}
    path = models.llama(tmp_path / "model.gguf", experts=experts, changed=changed)
    part = "_exps" if experts else ""
    names = [f"blk.1.ffn_{kind}{part}.weight" for kind in ("gate", "up", "down")]
    with Session(path, context=64, batch=128) as session:
        grams = list(session.gram(tokens, names))
        chunks = session.chunks(tokens)
        chunks[:, 0] = models.BOS
    matrices = models.EXPERTS if experts else 1
    assert [(set(g.tensors), g.matrix) for g in grams] == [
        (set(shared), m) for shared in (names[:2], names[2:]) for m in range(matrices)
    ]
    expected = [reference.forward(models.weights(experts) | changed, chunk)[0] for chunk in chunks]
    for gram in grams:
        rows = np.concatenate([x for e in expected for at, x in e[gram.tensors[0]] if at == gram.matrix])
        h = rows.T @ rows
        assert gram.count == len(rows)
        assert gram.h.dtype == np.float32
        assert np.array_equal(gram.h, gram.h.T)
        assert np.abs(gram.h - h).max() <= 1e-5 * h.max()


def test_its_diagonal_is_the_importance(session: Session, tokens: Tokens) -> None:
    with session.collect(gram=["blk.0.ffn_down.weight"], output=True) as collection:
        collection.run(tokens)
        (gram,) = collection.gram()
        squares = collection.importance().sums["blk.0.ffn_down.weight"].squares[0]
    assert np.allclose(np.diag(gram.h), squares, rtol=1e-5)


@pytest.mark.parametrize("columns", [1, PANEL - 1, PANEL, PANEL + 1, 2 * PANEL + 3])
@pytest.mark.parametrize("steps", [[1], [300], [3, 100, 200, 1, 400, 5]])
def test_the_triangle_of_any_size(columns: int, steps: list[int], pool: ThreadPoolExecutor) -> None:
    random = np.random.default_rng(columns)
    triangle, rows = Triangle(columns, pool), []
    for step in steps:
        rows.append(random.standard_normal((step, columns)).astype(np.float32))
        triangle.add(rows[-1])
    x = np.concatenate(rows).astype(np.float64)
    h = x.T @ x
    assert triangle.count == len(x)
    start = 0
    for panel in triangle.panels():
        stop = start + len(panel)
        assert np.abs(panel - h[start:stop, :stop]).max() <= 1e-5 * h.max()
        start = stop
    assert start == columns


def test_float32_is_enough_for_a_long_text(pool: ThreadPoolExecutor) -> None:
    # a large mean, as activations have, and a thousand batches
    random = np.random.default_rng(0)
    triangle, exact = Triangle(16, pool), np.zeros((16, 16))
    for _ in range(1000):
        x = (random.standard_normal((256, 16)) + 3).astype(np.float32)
        triangle.add(x)
        exact += x.astype(np.float64).T @ x
    (panel,) = triangle.panels()
    assert np.abs(panel - exact).max() <= 2e-6 * exact.max()


def test_a_tensor_that_is_not_multiplied_is_refused(session: Session, tokens: Tokens) -> None:
    with pytest.raises(UsageError, match=r"tensor 'blk\.9\.attn_q\.weight': is not a weight matrix"):
        list(session.gram(tokens[:64], ["blk.9.attn_q.weight"]))
