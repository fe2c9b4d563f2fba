"""The thorough search against ggml's own blocks: a smaller error in the same format, never a greater one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import generators, ggml

from qconv import blocks

_TYPES = ("Q4_K", "Q5_K")


def _errors(rows: NDArray[np.float32], decoded: NDArray[np.float32]) -> NDArray[np.float64]:
    """Each super-block's squared error, weighted as the search does: RMS of the sub-block plus magnitude."""
    x = rows.reshape(-1, 32).astype(np.float64)
    weights = np.sqrt((x * x).mean(axis=1, keepdims=True)) + np.abs(x)
    off = weights * (x - decoded.reshape(-1, 32)) ** 2
    errors: NDArray[np.float64] = off.reshape(-1, 256).sum(axis=1)
    return errors


def _both(block_type: str, rows: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Errors of the thorough search's blocks and of ggml's, decoded by ggml."""
    ours = blocks.encode(block_type, rows, search="thorough")
    theirs = ggml.encode(block_type, rows)
    return _errors(rows, ggml.decode(block_type, ours)), _errors(rows, ggml.decode(block_type, theirs))


@pytest.mark.parametrize("kind", ["gaussian 1", "student-t 5"])
@pytest.mark.parametrize("block_type", _TYPES)
def test_weighted_error_is_at_least_one_percent_lower(block_type: str, kind: str) -> None:
    rows = generators.ROWS[kind](generators.seeded(kind), 64 * 2048).astype(np.float32).reshape(64, 2048)
    ours, theirs = _both(block_type, rows)
    assert np.sqrt(ours.sum() / theirs.sum()) < 0.99


@pytest.mark.parametrize("block_type", _TYPES)
def test_no_super_block_is_worse(block_type: str) -> None:
    for kind, make in generators.ROWS.items():
        rows = make(generators.seeded(kind), 4 * 1024).astype(np.float32).reshape(4, 1024)
        with np.errstate(over="ignore", invalid="ignore"):
            ours, theirs = _both(block_type, rows)
        assert not (ours > theirs * (1 + 1e-5)).any(), kind


def test_with_importance_and_elsewhere_it_is_ggmls_search() -> None:
    rows = np.random.default_rng(5).standard_normal((3, 512), np.float32)
    importance = np.random.default_rng(6).random(512, np.float32)
    for block_type, given in (("Q4_K", importance), ("Q6_K", None)):
        thorough = blocks.encode(block_type, rows, given, search="thorough")
        assert np.array_equal(thorough, ggml.encode(block_type, rows, given))
