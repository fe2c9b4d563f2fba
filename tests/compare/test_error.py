"""Measures of error, against arithmetic done by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from qconv.compare import Error


def rows(*values: Any) -> Any:
    return np.array([values], np.float32)


def test_measures_by_hand() -> None:
    error = Error()
    error.add(rows(3.0, 4.0), rows(3.0, 3.0))
    assert error.rmse == pytest.approx(math.sqrt(1 / 2))
    assert error.relative_rmse == pytest.approx(1 / 5)  # sqrt(1) of sqrt(9 + 16)
    assert error.worst == 1.0
    assert error.sqnr == pytest.approx(10 * math.log10(25))
    assert error.cosine == pytest.approx((9 + 12) / (5 * math.sqrt(18)))


def test_pieces_add_up_to_the_whole() -> None:
    random = np.random.default_rng(1)
    a = random.standard_normal((64, 32)).astype(np.float32)
    b = a + random.standard_normal((64, 32)).astype(np.float32) * np.float32(0.1)
    whole, pieces = Error(), Error()
    whole.add(a, b)
    for start in range(0, 64, 8):
        piece = Error()
        piece.add(a[start : start + 8], b[start : start + 8])
        pieces += piece
    assert pieces.weights == whole.weights == 2048
    assert pieces.rmse == pytest.approx(whole.rmse, rel=1e-12)
    assert pieces.worst == whole.worst


def test_equal_weights_have_no_error() -> None:
    error = Error()
    error.add(rows(0.0, -0.0), rows(-0.0, 0.0))
    assert error.same
    assert (error.rmse, error.relative_rmse, error.cosine) == (0.0, 0.0, 1.0)
    assert error.sqnr == math.inf


def test_large_weights_do_not_overflow() -> None:
    error = Error()
    error.add(rows(1e30, 1e30), rows(1e30, 0.0))
    assert error.rmse == pytest.approx(1e30 / math.sqrt(2))


def test_nothing_against_something() -> None:
    error = Error()
    error.add(rows(0.0, 0.0), rows(1.0, 0.0))
    assert error.relative_rmse == math.inf
    assert error.sqnr == -math.inf
    assert error.cosine == 0.0


def test_an_infinite_weight() -> None:
    error = Error()
    error.add(rows(1.0, 2.0), rows(math.inf, 2.0))
    assert error.rmse == error.relative_rmse == error.worst == math.inf
    assert error.sqnr == -math.inf
    assert math.isnan(error.cosine)


def test_a_difference_beyond_float32() -> None:
    error = Error()
    error.add(rows(3e38), rows(-3e38))
    assert error.worst == math.inf
    assert error.sqnr == -math.inf
    assert error.cosine == pytest.approx(-1)


def test_nan_is_the_worst() -> None:
    error = Error()
    error.add(rows(1.0, 2.0), rows(math.nan, 2.0))
    error.add(rows(1.0, 2.0), rows(9.0, 2.0))
    assert math.isnan(error.worst)
    assert not error.same
