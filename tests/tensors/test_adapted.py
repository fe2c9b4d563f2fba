"""What adapters make of weights declares; what they are is tested against PEFT in tests/adapters."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from qconv.tensors import LazyTensor, memory_of_rows
from qconv.tensors.adapted import Magnitude, ReplacedRows, Sum
from qconv.tensors.low_rank import Factor, FactorTensor, LowRank
from tests.tensors.arrays import ArrayTensor

ROWS, COLUMNS, RANK = 512, 1024, 4
ORDER = (0, 1, 2)


def drawn(name: str, *shape: int) -> ArrayTensor:
    return ArrayTensor(name, np.random.default_rng(len(name)).standard_normal(shape, np.float32))


W, A, B = drawn("weight", ROWS, COLUMNS), drawn("a", RANK, COLUMNS), drawn("bb", ROWS, RANK)
PRODUCT = LowRank(Factor(B, (1, ROWS, RANK), ORDER), Factor(A, (1, RANK, COLUMNS), ORDER), 0.5, (ROWS, COLUMNS))
SUM = Sum(W, PRODUCT)
LENGTHS = drawn("rows", ROWS)
ACROSS = drawn("columns", COLUMNS)


@pytest.mark.parametrize(
    "tensor",
    [
        PRODUCT,
        SUM,
        Magnitude(SUM, SUM, LENGTHS, 1, False),
        Magnitude(SUM, Sum(W, PRODUCT), LENGTHS, 1, False),
        Magnitude(SUM, SUM, ACROSS, 1, True),
        ReplacedRows(SUM, (3, 500), drawn("two", 2, COLUMNS)),
        FactorTensor(Factor(B, (1, ROWS, RANK), (0, 2, 1)), 2.0),
    ],
    ids=["product", "sum", "rows", "rows by another", "columns", "replaced", "factor"],
)
def test_no_more_memory_is_taken_than_declared(tensor: LazyTensor) -> None:
    tracemalloc.start()
    try:
        ready = tensor.prepare()
        held, _ = tracemalloc.get_traced_memory()
        assert held <= tensor.resident_bytes + 20_000
        for rows in (1, min(64, ready.shape[0])):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            ready.read(0, rows)
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before <= memory_of_rows(ready, rows) + 20_000
    finally:
        tracemalloc.stop()


def test_what_counts_for_a_key() -> None:
    assert replace(PRODUCT, scale=0.25).key != PRODUCT.key
    assert PRODUCT.prepare().key == PRODUCT.key
    assert PRODUCT.prepare().prepare() is not None
    assert repr(Magnitude(SUM, SUM, LENGTHS, 1, False).key) == repr(
        Magnitude(SUM, SUM, LENGTHS, 1, False).prepare().key
    )
    assert Sum(W, PRODUCT).sources == ("weight", "bb", "a")


def test_of_a_grid_only_what_is_used_is_read() -> None:
    experts = drawn("experts", 6 * 4, 8)
    factor = Factor(experts, (6, 4, 8), ORDER, ((2, 3), (0, 4), (0, 8)))
    assert factor.load().tolist() == experts.array[8:12].reshape(1, 4, 8).tolist()
    assert experts.reads == [(8, 12)]
